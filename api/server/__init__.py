"""The HTTP server: workers, admission, middleware, metrics, logs, health."""
