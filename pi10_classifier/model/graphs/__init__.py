"""What is done with the graphs of a package."""
