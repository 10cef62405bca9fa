"""What the Pi-10 writes: names, sidecars, the layout of its TIFFs."""
