"""Models of an MLflow registry over its REST API: found, fetched, verified, cached, registered."""
