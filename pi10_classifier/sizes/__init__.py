"""Tables of sizes of a finished run: densities, biovolume, carbon and size spectra."""
