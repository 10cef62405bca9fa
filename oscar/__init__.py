"""The integration with OSCAR: buckets, events, services and batches."""
