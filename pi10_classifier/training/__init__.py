"""``pi10 train``: recipe, plan, seeds. Torch is imported from here and from ``search`` alone."""
