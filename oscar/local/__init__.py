"""``pi10 oscar local``: S3, endpoint, supervisor and faults on one machine."""
