"""The model package: verified, loaded, run, written, described."""
