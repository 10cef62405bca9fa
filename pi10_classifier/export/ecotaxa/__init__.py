"""A run as bundles that EcoTaxa imports: one sample a bin, one acquisition a minute."""
