"""Tracking with MLflow: spool, sender and reporter."""
