"""``pi10 watch``: a bucket or folder, looked after by one warm process."""
