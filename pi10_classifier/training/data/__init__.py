"""What the training loop is fed: decoded, sampled, augmented, batched."""
