"""Trainings as processes of the service."""
