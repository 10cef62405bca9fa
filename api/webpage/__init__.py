"""The web page: routes, runs and static files."""
