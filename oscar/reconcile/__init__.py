"""Inputs without a record: found, and done again."""
