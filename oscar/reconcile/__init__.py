"""Finds inputs without a record and submits them again."""
