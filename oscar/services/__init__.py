"""Services: their FDL files, checks and variants, and the cluster."""
