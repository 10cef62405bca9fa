"""Reads what the Pi-10 writes: file names, sidecars and the layout of its TIFFs."""
