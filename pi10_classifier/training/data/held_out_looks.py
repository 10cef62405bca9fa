"""The Pi-10's looks in which held-out images are drawn, to judge models on them. No torch."""

from __future__ import annotations

from functools import partial

import numpy as np

from pi10_classifier.evaluation.scoring import Look
from pi10_classifier.imaging.preprocess import U8, Preprocessing
from pi10_classifier.training.data.augment_pi10 import augment
from pi10_classifier.training.data.in_memory import level

KINDS = ("generic", "linescan")


def _draw(rgb: U8, rng: np.random.Generator, spec: Preprocessing, *, kind: str) -> U8:
    return augment(level(rgb), rng, spec, look=1.0, kind=kind)


LOOKS = tuple(Look(f"look {kind}", partial(_draw, kind=kind)) for kind in KINDS)
"""Generic, drawn widely from a description, and linescan, as measured on genuine images."""
