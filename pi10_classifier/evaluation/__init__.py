"""Evaluation of scores against labels: metrics, intervals, calibration, comparison. No torch."""
