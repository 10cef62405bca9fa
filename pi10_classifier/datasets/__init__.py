"""Labelled images: found, read, checked, split. No torch."""
