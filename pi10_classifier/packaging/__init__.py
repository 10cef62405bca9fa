"""New packages made from packages: int8, cascade, calibrated, adapted. No torch."""
