"""Densities corrected by labels: of a run, of its bins, and the record of what was done."""
