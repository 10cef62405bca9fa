"""All that a run writes: columns, parts, journal, tables, run.json."""
