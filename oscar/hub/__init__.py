"""Crates for the OSCAR Hub."""
