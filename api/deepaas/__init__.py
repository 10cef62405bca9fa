"""What stands in for parts of DEEPaaS 2.6."""
