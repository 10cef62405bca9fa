"""Labels and pictures of a sample as other tools write and read them: one format a file."""
