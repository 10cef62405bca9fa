"""The OSCAR face: buckets, events and batches. It holds no science."""
