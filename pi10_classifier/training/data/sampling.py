"""Chooses the images of an epoch.

The functions depend only on the labels, a seed and the epoch, so all machines choose the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.training.recipe_checks import check_limits

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def epoch_order(
    truth: ArrayLike, *, seed: int, epoch: int, minimum: int = 0, maximum: int | None = None
) -> I64:
    """Shuffled indices of an epoch, with ``minimum`` to ``maximum`` images per class.

    truth: class indices (N,). In a class below the minimum, images are repeated equally often,
    except for a random remainder (the loop augments each repetition). Of a class above the maximum,
    each epoch shows another part, so that ceil(n / maximum) epochs show all images.
    """
    labels = _labels(truth)
    check_limits(minimum, maximum)
    rng = _generator(seed, epoch)
    parts = []
    for k in np.unique(labels).tolist():
        members = np.flatnonzero(labels == k)
        n = len(members)
        if maximum is not None and n > maximum:
            lap = np.random.default_rng((seed, k)).permutation(members)
            parts.append(lap[np.arange(epoch * maximum, (epoch + 1) * maximum) % n])
        elif n < minimum:
            times, rest = divmod(minimum, n)
            parts.append(np.tile(members, times))
            parts.append(rng.choice(members, rest, replace=False))
        else:
            parts.append(members)
    return np.asarray(rng.permutation(np.concatenate(parts)), np.int64)


def epoch_size(truth: ArrayLike, minimum: int = 0, maximum: int | None = None) -> int:
    """Number of images in ``epoch_order``."""
    check_limits(minimum, maximum)
    sizes = np.bincount(_labels(truth))
    return int(np.clip(sizes[sizes > 0], minimum, maximum).sum())


def weighted_order(weights: ArrayLike, count: int, *, seed: int, epoch: int) -> I64:
    """``count`` indices drawn with replacement in proportion to ``weights`` (N,)."""
    shares = np.asarray(weights, np.float64)
    if shares.ndim != 1 or not shares.size or not (shares >= 0).all() or not shares.sum() > 0:
        raise SettingError("sampling weights must be one row of numbers of 0 or more, not all 0")
    drawn = _generator(seed, epoch).choice(len(shares), count, p=shares / shares.sum())
    return np.asarray(drawn, np.int64)


def sample_weights(strata: ArrayLike, balance: float) -> F64:
    """Probability (N,) of each image to be drawn: its stratum's count^-balance, with sum 1.

    strata: indices (N,) of class, or of class x source. With balance 0 all images have the same
    probability, with 1 all strata; 0.5 is between the two.
    """
    labels = _labels(strata)
    _check_balance(balance)
    sizes = np.bincount(labels).astype(np.float64)
    weights = sizes[labels] ** -balance
    return np.asarray(weights / weights.sum(), np.float64)


def _labels(truth: ArrayLike) -> I64:
    labels = np.asarray(truth)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise SettingError("labels must be one non-empty row of whole numbers of 0 or more")
    return labels.astype(np.int64)


def _check_balance(balance: float) -> None:
    if not 0 <= balance <= 1:
        raise SettingError(
            f"balance is {balance}; it must be 0 (as in the data) to 1 (all strata alike)"
        )


def _generator(seed: int, epoch: int) -> np.random.Generator:
    if seed < 0 or epoch < 0:
        raise SettingError(f"seed {seed} and epoch {epoch} must not be negative")
    return np.random.default_rng((seed, epoch))
