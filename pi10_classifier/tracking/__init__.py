"""MLflow: spool, sender, reporter."""
