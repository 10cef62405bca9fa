"""The box around the positions of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pi10_classifier.abundance.position import Position


def bounds(positions: Sequence[Position]) -> tuple[float, float, float, float]:
    """West, east, south, north; across the antimeridian west is greater than east."""
    norths = [north for north, _ in positions]
    easts = sorted(east for _, east in positions)
    gaps = [(b - a, b, a) for a, b in pairwise(easts)]
    west, east = easts[0], easts[-1]
    gap, after, before = max(gaps, default=(0.0, west, east))
    if gap > 180:  # the widest stretch without a position leads around the other way
        west, east = after, before
    return west, east, min(norths), max(norths)
