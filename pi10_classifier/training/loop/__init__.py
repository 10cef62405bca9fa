"""The training loop on Hugging Face's Trainer: schedule, average, preflight, resume."""
