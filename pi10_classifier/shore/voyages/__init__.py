"""What was sampled, by time: a ship by its lines, or a finished run."""
