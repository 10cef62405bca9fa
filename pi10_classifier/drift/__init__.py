"""Tells whether the camera, or the sea, differs from a run that a person knows to be good."""
