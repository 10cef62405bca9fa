"""Counts to individuals per litre: raising, intervals, quality, position."""
