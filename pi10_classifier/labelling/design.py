"""The design of a probability sample: how many of each predicted class, and which particles.

Sequential Poisson sampling (Ohlsson 1998, Journal of Official Statistics 14:149): each particle
has a random number u in (0, 1) that stays its own, and the n particles with the smallest u / w are
drawn, w being its raising factor. Inclusion probabilities are close to n w / W, so the plain share
of a class among the drawn estimates its share of the raised total W; and a larger n keeps all that
a smaller one drew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
K = TypeVar("K")


def allocate(raised: Mapping[K, float], there: Mapping[K, int], size: int) -> dict[K, int]:
    """How many of ``size`` particles each predicted class gets: half by raised total, half equal.

    there: how many particles a class has, which it cannot exceed; what it leaves goes to others.
    """
    left = {label: count for label, count in there.items() if count > 0}
    out = dict.fromkeys(there, 0)
    spare = min(size, sum(left.values()))
    while spare > 0 and left:
        total = sum(raised[label] for label in left)
        shares = {
            label: 0.5 / len(left) + (0.5 * raised[label] / total if total > 0 else 0.5 / len(left))
            for label in left
        }
        # largest remainders, so that whole numbers add up to what is there to give
        ideal = {label: spare * share for label, share in shares.items()}
        whole = {label: int(value) for label, value in ideal.items()}
        rest = spare - sum(whole.values())
        for label in sorted(ideal, key=lambda x: whole[x] - ideal[x])[:rest]:
            whole[label] += 1
        for label, count in whole.items():
            given = min(count, left[label])
            out[label] += given
            left[label] -= given
            spare -= given
        left = {label: count for label, count in left.items() if count > 0}
    return out


def priorities(u: F64, factor: F64) -> F64:
    """The rank of each particle (N,): the smaller, the sooner it is drawn."""
    return u / factor


def taken(
    rank: F64, factor: F64, size: int, total: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the particles drawn: by chance in proportion to the factor, and for certain.

    total: of the factors of all particles, also those that cannot be drawn and are not given. A
    particle is drawn for certain where size * factor / total reaches 1; the others share what is
    left of the sample.
    """
    order = np.argsort(-factor, kind="stable")
    certain, left = 0, min(size, len(factor))
    for place in order.tolist():
        if left <= 0 or left * factor[place] < total * (1 - 1e-12):
            break
        certain += 1
        left -= 1
        total -= float(factor[place])
    others = order[certain:]
    drawn = others[np.argsort(rank[others], kind="stable")[:left]]
    return drawn, order[:certain]
