"""The OSCAR integration: buckets, events, services."""
