"""Inputs as units of work: files, folders, archives, buckets."""
