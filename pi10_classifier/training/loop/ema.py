"""The exponential moving average of a network's weights and norm statistics."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """``network`` is the averaged copy, or the trained network itself if decay is 0."""

    def __init__(self, trained: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(trained).eval() if decay else trained

    @torch.no_grad()
    def follow(self, trained: nn.Module, step: int) -> None:
        """Update the average after an optimiser step; the first steps have a larger weight."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        target, source = self.network.state_dict(), trained.state_dict()
        floats = [key for key, value in target.items() if value.is_floating_point()]
        move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        move([target[key] for key in floats], [source[key] for key in floats], 0)
        for key in target.keys() - floats:
            target[key].copy_(source[key])
