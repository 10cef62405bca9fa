"""Search over settings of a training with Optuna."""
