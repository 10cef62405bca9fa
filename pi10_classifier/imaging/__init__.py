"""Bytes to pixels to model input; outline and size of the particle."""
