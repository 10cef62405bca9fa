"""Training of int8 graphs with their rounding in the loop."""
