"""Networks by name, and their first weights."""
