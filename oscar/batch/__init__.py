"""``pi10 oscar batch``: plan, coordinator, worker, merge."""
