"""Profiles as a network takes them: scaled, of bounded length, padded and masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

MOST_POINTS = 256  # longer profiles are averaged down to so many


def shortened(profile: F32, most: int = MOST_POINTS) -> F32:
    """A profile (C, L) averaged down to ``most`` points; a shorter one is returned as it is."""
    if profile.shape[1] <= most:
        return profile
    size = (most, profile.shape[0])
    return np.asarray(cv2.resize(profile, size, interpolation=cv2.INTER_AREA), np.float32)


def typical_values(profiles: Sequence[F32]) -> F32:
    """The median magnitude of each channel (C,) over all profiles; 1 where it is 0."""
    every: Any = np.median(np.abs(np.concatenate(list(profiles), axis=1)), axis=1)
    return np.asarray(np.where(every > 0, every, 1), np.float32)


def scaled(profile: F32, typical: F32) -> F32:
    """asinh(value / typical value of its channel): pulses span decades, and may be negative."""
    return np.asarray(np.arcsinh(profile / typical[:, None]), np.float32)


def padded(profiles: Sequence[F32]) -> tuple[F32, NDArray[np.bool_]]:
    """Profiles (C, L of each) -> float32 (N, C, L) with 0 after each end, and mask (N, L).

    The mask is True where there is a point.
    """
    lengths = np.array([profile.shape[1] for profile in profiles])
    longest = int(lengths.max())
    every = np.zeros((len(profiles), len(profiles[0]), longest), np.float32)
    for row, profile in zip(every, profiles, strict=True):
        row[:, : profile.shape[1]] = profile
    return every, np.arange(longest) < lengths[:, None]
