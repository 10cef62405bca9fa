"""Model packages: to verify, load, run, write and describe them."""
