"""The page: its files, and what they ask for."""
