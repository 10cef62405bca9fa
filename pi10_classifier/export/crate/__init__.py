"""A run as an RO-Crate, and as the files of a Zenodo record: one step a module."""
