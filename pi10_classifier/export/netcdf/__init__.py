"""A run as a CF-netCDF trajectory of minutes for ERDDAP and EMODnet."""
