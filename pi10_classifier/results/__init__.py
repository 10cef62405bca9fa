"""The output of a run: columns, parts, journal, tables and run.json."""
