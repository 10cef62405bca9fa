"""Retraining as a service: labels in a bucket become a candidate and its comparison."""
