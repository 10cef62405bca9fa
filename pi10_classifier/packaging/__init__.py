"""Packages made of packages: int8, cascade, calibrated. No torch."""
