"""Prepares the data of the training loop: decoding, sampling, augmentation, batches."""
