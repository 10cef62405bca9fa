"""Replacements for parts of DEEPaaS 2.6."""
