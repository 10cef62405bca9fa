"""Batches (``pi10 oscar batch``): plan, coordinator, worker and merge."""
