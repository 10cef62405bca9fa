"""Predictions: the way from an upload to an answer."""
