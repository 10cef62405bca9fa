"""The web page: its routes, its runs, its files."""
