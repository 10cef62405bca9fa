"""OSCAR on one machine (``pi10 oscar local``): S3, endpoint, supervisor and faults."""
