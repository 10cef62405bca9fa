"""Records: how ``script.sh`` turns one object into one record."""
