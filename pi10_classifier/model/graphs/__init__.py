"""The graphs of a package in other precisions, and which of them is run."""
