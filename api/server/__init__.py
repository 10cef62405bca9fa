"""Around every request: workers, admission, middleware, metrics, logs, health."""
