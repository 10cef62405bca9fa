"""Finds and reads inputs as units of work: files, folders, archives and buckets."""
