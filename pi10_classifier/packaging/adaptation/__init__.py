"""``pi10 adapt``: a new head on the frozen features of a package."""
