"""The OSCAR face: buckets, events, services. It holds no science."""
