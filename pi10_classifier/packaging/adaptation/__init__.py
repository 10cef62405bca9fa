"""``pi10 adapt``: fit a new head to the frozen features of a package."""
