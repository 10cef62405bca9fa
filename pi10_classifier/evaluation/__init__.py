"""Scores against labels: metrics, intervals, calibration, comparison. No torch."""
