"""The page for people: its routes, its runs, its files."""
