"""An upload to an answer."""
