"""MLflow tracking: spool, sender, reporter."""
