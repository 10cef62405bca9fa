"""Makes the optimiser of a recipe and the schedule of its rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pi10_classifier.training.loop.schedule import Schedule
from pi10_classifier.training.recipe import Recipe


def optimiser_of(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser, with weight decay for matrices and kernels only."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9)
    adam = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return adam(groups, lr=recipe.rate)


def rate_schedule(
    optimiser: torch.optim.Optimizer, clock: Schedule
) -> torch.optim.lr_scheduler.LambdaLR:
    """The rate as ``clock`` gives it."""
    # a plain function, so that the checkpoint stores nothing about it
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: clock.factor(s))
