"""Services: FDL files, their checks and variants, and access to a cluster."""
