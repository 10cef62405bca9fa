"""A run as a Darwin Core Archive for OBIS, EMODnet Biology and GBIF."""
