"""Losses by name, one family per module."""
