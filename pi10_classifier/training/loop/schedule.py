"""The progress of a training, by steps or minutes, and its learning rate."""

from __future__ import annotations

import math
import time

from pi10_classifier.training.recipe import Recipe


class Schedule:
    """Progress by steps or by minutes, whichever is further.

    steps: optimiser steps of the whole training. before: seconds spent before a resume.
    """

    def __init__(self, recipe: Recipe, steps: int, before: float = 0.0) -> None:
        self.recipe, self.steps, self.step = recipe, steps, 0
        self.began = time.monotonic() - before
        share = math.ceil(recipe.warmup_share * steps)
        # the warm-up is at most a fifth of a short training
        self.warmup = max(1, min(recipe.warmup_steps, steps // 5) if recipe.warmup_steps else share)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def progress_at(self, step: int) -> float:
        spent = self.seconds / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(step / self.steps, spent))

    @property
    def progress(self) -> float:
        return self.progress_at(self.step)

    @property
    def over(self) -> bool:
        return self.progress >= 1.0

    def factor(self, step: int) -> float:
        """The learning rate at a step, as a share of the recipe's: it rises, then falls to 0."""
        rise = min(1.0, (step + 1) / self.warmup)
        done = self.progress_at(step)
        if self.recipe.schedule == "cosine":
            return rise * 0.5 * (1 + math.cos(math.pi * done))
        risen = min(self.warmup / self.steps, 0.999)
        return min(rise, (1 - done) / (1 - risen))

    @property
    def rate(self) -> float:
        return self.recipe.rate * self.factor(self.step)

    def __str__(self) -> str:
        done = self.progress
        left = self.seconds * (1 - done) / done / 60 if done else math.inf
        return f"step {self.step} {done:4.0%} rate {self.rate:.1e} ETA {left:.0f} min"
