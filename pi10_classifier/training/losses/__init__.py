"""Losses by name, one family a file."""
