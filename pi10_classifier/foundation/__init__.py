"""Helpers without domain knowledge: files, ordered threads, signals, output, redaction."""
