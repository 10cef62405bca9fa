"""The losses of pretraining, on batches of embeddings."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

LOWEST_SCALE, HIGHEST_SCALE = 1 / 100, 100.0
_FIRST_TEMPERATURE = 0.07


class SymmetricContrastive(nn.Module):
    """Cross-entropy over cosine similarities, in both directions, with a learnt temperature.

    Pairs (N, D) and (N, D): row i of the one belongs to row i of the other, and to no other row.
    After Radford et al. 2021 (CLIP, figure 3); the logit scale, 1 / temperature, is kept within
    1/100 and 100.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / _FIRST_TEMPERATURE)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(LOWEST_SCALE, HIGHEST_SCALE)

    @torch.no_grad()
    def limit(self) -> None:
        """Bring the parameter back into its range, outside of which it has no gradient."""
        self.log_scale.clamp_(math.log(LOWEST_SCALE), math.log(HIGHEST_SCALE))

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, nats, and the share of rows of ``one`` whose nearest ``other`` is their own."""
        logits = self.scale * unit(one) @ unit(other).T
        own = torch.arange(len(logits), device=logits.device)
        both = functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)
        return both / 2, (logits.argmax(1) == own).float().mean()


def two_views(one: Tensor, other: Tensor, temperature: float = 0.2) -> tuple[Tensor, Tensor]:
    """NT-Xent of two views (N, D) of the same images, nats, and the share of nearest that match.

    Each of the 2N views is to be told from all others but its partner (Chen et al. 2020, SimCLR,
    equation 1).
    """
    every = unit(torch.cat((one, other)))
    count = len(one)
    itself = torch.eye(2 * count, dtype=torch.bool, device=every.device)
    logits = (every @ every.T / temperature).masked_fill(itself, -torch.inf)
    partner = (torch.arange(2 * count, device=every.device) + count) % (2 * count)
    matched = (logits.argmax(1) == partner).float().mean()
    return functional.cross_entropy(logits, partner), matched


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """-cos of predictions and targets (N, D), without a gradient to the targets.

    Chen and He 2021 (SimSiam), equation 1.
    """
    return -functional.cosine_similarity(prediction, target.detach()).mean()


class CentredCrossEntropy(nn.Module):
    """DINO's loss: the student's view is to give the teacher's answer on the other view.

    The teacher's logits are centred with their running mean and sharpened, so that neither one
    answer nor all answers alike can win (Caron et al. 2021, algorithm 1).
    """

    centre: Tensor

    def __init__(self, answers: int, student: float = 0.1, teacher: float = 0.04,
                 keep: float = 0.9) -> None:  # fmt: skip
        super().__init__()
        self.student, self.teacher, self.keep = student, teacher, keep
        self.register_buffer("centre", torch.zeros(1, answers))

    def forward(self, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> Tensor:
        """Logits (N, answers) of both views by both networks -> loss, nats."""
        targets = [((t - self.centre) / self.teacher).softmax(1).detach() for t in teacher]
        answers = [(s / self.student).log_softmax(1) for s in student]
        loss = -(targets[0] * answers[1] + targets[1] * answers[0]).sum(1).mean() / 2
        if self.training:
            mean = torch.cat(teacher).detach().mean(0, keepdim=True)
            self.centre.copy_(self.keep * self.centre + (1 - self.keep) * mean)
        return loss


def unit(x: Tensor) -> Tensor:
    """Vectors of length 1."""
    return functional.normalize(x.float(), dim=1)


def spread(embeddings: Tensor) -> Tensor:
    """How far embeddings (N, D) are from all being one: 0 if they are, about 1 on the whole sphere.

    The standard deviation of each dimension of the unit vectors, times the root of D (Chen and He
    2021, section 4.1, where it tells a collapse).
    """
    units = unit(embeddings.detach())
    return cast(Tensor, units.std(0, correction=0).mean() * units.shape[1] ** 0.5)
