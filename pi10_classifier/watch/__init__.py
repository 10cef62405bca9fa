"""``pi10 watch``: one process that classifies what arrives in a bucket or folder."""
