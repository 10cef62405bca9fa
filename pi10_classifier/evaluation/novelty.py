"""How well a package tells images of none of its classes from those of its classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.evaluation.metrics import F64, I64, interval
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.model.package import Package

RESAMPLES = 1000
LEAST = 10  # images of either kind: an area of fewer says nothing

Figure = Callable[[F64, F64], float]
"""Weights of images outside and of known ones, by falling values -> a figure."""


def judge_novelty(
    package: Package, scored: Scored, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Figures for all of ``scored``, and by source; empty where the package cannot tell.

    Outside are images of none of the package's classes. flagged_known, flagged_outside: the
    shares above the threshold. auroc, aupr: areas below the curves of ROC and of precision over
    recall, outside images being those to find. by_probability: the same by the highest
    probability alone. Each with the 95 % percentile interval of resampled images (Efron 1979).
    """
    if package.novelty is None or scored.novelty is None:
        return {}
    outside = np.array([s.group not in package.classes for s in scored.samples], bool)
    sources = sorted({s.source for s in scored.samples})
    places = {"all": np.ones(len(outside), bool)}
    if len(sources) > 1:
        places |= {x: np.array([s.source == x for s in scored.samples]) for x in sources}
    found = {}
    for name, mine in places.items():
        if min((mine & outside).sum(), (mine & ~outside).sum()) < LEAST:
            continue
        t, rng = outside[mine], np.random.default_rng(seed)
        draws = [rng.integers(0, len(t), len(t)) for _ in range(resamples)]
        novel = scored.novelty[mine]
        found[name] = {
            "known": int((~t).sum()),
            "outside": int(t.sum()),
            **_areas(novel, t, draws),
            "by_probability": _areas(-scored.probabilities[mine].max(axis=1), t, draws),
            "flagged_known": _share(novel[~t] > package.novelty.threshold, resamples, seed),
            "flagged_outside": _share(novel[t] > package.novelty.threshold, resamples, seed),
        }
    return found


def auroc(outside: F64, known: F64) -> float:
    """Area below the ROC curve: the chance that an outside image has the higher value.

    outside, known: weights (G,) of the images of each value, by falling value. Images of one value
    count half (Hanley and McNeil 1982).
    """
    below = known.sum() - np.cumsum(known)
    return float((outside * (below + known / 2)).sum() / (outside.sum() * known.sum()))


def average_precision(outside: F64, known: F64) -> float:
    """Area below precision over recall, as the mean of the precision at each outside image."""
    hits, all_ = np.cumsum(outside), np.cumsum(outside + known)
    precision = hits / np.maximum(all_, 1)
    return float((outside * precision).sum() / outside.sum())


def _areas(values: F64, outside: NDArray[np.bool_], draws: Sequence[I64]) -> dict[str, Any]:
    unique, place = np.unique(-values, return_inverse=True)
    wide = len(unique)

    def of(chosen: I64 | slice) -> tuple[F64, F64]:
        at, t = place[chosen], outside[chosen]
        return (
            np.bincount(at[t], minlength=wide).astype(np.float64),
            np.bincount(at[~t], minlength=wide).astype(np.float64),
        )

    kinds: dict[str, Figure] = {"auroc": auroc, "aupr": average_precision}
    whole = of(slice(None))
    # a resample without images of one kind has no area
    drawn = [pair for pair in map(of, draws) if pair[0].any() and pair[1].any()]
    return {
        name: interval(figure(*whole), np.array([figure(*pair) for pair in drawn]))
        for name, figure in kinds.items()
    }


def _share(flagged: NDArray[np.bool_], resamples: int, seed: int) -> dict[str, float]:
    share, count = float(flagged.mean()), len(flagged)
    drawn = np.random.default_rng(seed).binomial(count, share, resamples) / count
    return interval(share, drawn)
