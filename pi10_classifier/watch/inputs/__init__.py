"""The watched place, a folder or a bucket, behind one protocol."""
