"""The graphs of a package: those in other precisions, which one is run, one more output."""
