"""Crates of the services for the OSCAR Hub."""
