"""The features of particles: their table, a map to look at, clusters to sort by."""
