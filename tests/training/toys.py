"""A network of six weights and pictures of three brightnesses, for tests of the loop."""

import math

import numpy as np
import torch

from pi10_classifier.training.dataset import HeldOut, TrainingSet
from pi10_classifier.training.network_parts import Output
from pi10_classifier.training.recipe import recipe_for


class Tiny(torch.nn.Module):
    """Logits from the mean brightness; dropout, so that random numbers matter."""

    def __init__(self, gain=1.0, seed=0, dropout=0.0, classes=3):
        super().__init__()
        torch.manual_seed(seed)
        self.norm = torch.nn.BatchNorm1d(4)
        self.wide = torch.nn.Linear(1, 4)
        self.drop = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(4, classes)
        self.gain = gain

    def forward(self, image):
        brightness = image.float().mean((1, 2, 3))[:, None] / 255
        features = self.drop(torch.relu(self.norm(self.wide(brightness))))
        return Output(self.head(features) * self.gain, features)


NAN = math.nan


def shades(n=30, colour=False):
    """Squares of three sizes on white: 10 a class for training, the same to validate."""
    truth = np.arange(n) % 3
    images = [np.full((20, 20, 3) if colour else (20, 20), 255, np.uint8) for _ in truth]
    for image, label in zip(images, truth, strict=True):
        image[4 : 16 - 4 * label, 4:16] = 60
    held = np.stack([image[None] if not colour else image.transpose(2, 0, 1) for image in images])
    return TrainingSet(images, truth, truth), HeldOut(held, truth)


def recipe(**options):
    """Two short epochs of the mobile recipe."""
    small = {"epochs": 2, "size": 32, "warm_size": 32, "batch": 10, "warmup_steps": 2}
    return recipe_for("mobilenet_v2", **{**small, **options})
