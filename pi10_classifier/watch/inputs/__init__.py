"""The watched folder or bucket, behind one protocol."""
