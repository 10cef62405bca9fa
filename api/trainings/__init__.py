"""Trainings that the service runs, each in its own process."""
