"""Receives lines: who sends, what a line may hold, and the store that keeps it."""
