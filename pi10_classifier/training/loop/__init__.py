"""The training loop on Hugging Face's Trainer: schedule, EMA, preflight, resume."""
