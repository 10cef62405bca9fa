"""Turns bytes into pixels and model input, and finds the particle's outline and size."""
