"""From an upload to an answer."""
