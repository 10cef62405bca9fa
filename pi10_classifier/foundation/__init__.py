"""Ground floor: files, ordered threads, signals, output, redaction. It knows no domain."""
