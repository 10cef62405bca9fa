"""Labelled images: finding, reading, checking and splitting them. No torch."""
