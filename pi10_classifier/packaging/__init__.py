"""Makes new model packages from existing ones: int8, cascade, calibrated, adapted. No torch."""
