"""Results of a run in the formats that EcoTaxa, OBIS, ERDDAP and archives take."""
