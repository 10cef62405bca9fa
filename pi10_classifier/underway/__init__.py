"""What the ship measured on her way, joined to a run; and her track as files for maps."""
