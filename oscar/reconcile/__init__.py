"""Reconciling: finds inputs without a record, and submits them again."""
