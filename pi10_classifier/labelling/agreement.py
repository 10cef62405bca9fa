"""How far two labellers agree beyond chance: Cohen's kappa with a 95 % interval.

Kappa is (p - c) / (1 - c), where p is the share of particles with the same label and c the share
expected by chance from how often each labeller gives each label (Cohen 1960, Educational and
Psychological Measurement 20:37). The interval is kappa +/- 1.96 standard errors (Fleiss, Cohen and
Everitt 1969, Psychological Bulletin 72:323, equation 13). Where the labellers differ nowhere that
error is 0, whatever the number of particles; the lower limit then comes from the exact lower limit
of p (Clopper and Pearson 1934, Biometrika 26:404).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NORMAL = 1.959963984540054  # 97.5 % point
TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the particles that two labellers both labelled; None where kappa is not defined.

    particles: labelled by both. same: with the same label. kappa, low, high: in -1 to 1.
    """

    particles: int
    same: int
    kappa: float | None
    low: float | None
    high: float | None


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Cohen's kappa of (label of one, label of the other), one pair for each particle.

    Not defined without particles, or where both gave one and the same label throughout: chance
    alone explains that.
    """
    names = sorted({label for pair in pairs for label in pair})
    place = {name: at for at, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for first, second in pairs:
        table[place[first], place[second]] += 1
    number, same = len(pairs), round(float(np.trace(table)))
    if len(names) < 2:
        return Agreement(number, same, None, None, None)
    share = table / number
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed, chance = float(np.trace(share)), float(rows @ columns)
    kappa = (observed - chance) / (1 - chance)
    if same == number:
        least = TAIL ** (1 / number)
        return Agreement(number, same, 1.0, max(-1.0, (least - chance) / (1 - chance)), 1.0)
    # the error of Fleiss et al.: of the diagonal, of the rest, less the square of the mean
    both = rows[None, :] + columns[:, None]  # p(j.) + p(.i) of cell (i, j)
    diagonal = np.diag(share) * (1 - (rows + columns) * (1 - kappa)) ** 2
    rest = share * both**2 * (1 - kappa) ** 2
    np.fill_diagonal(rest, 0)
    variance = diagonal.sum() + rest.sum() - (kappa - chance * (1 - kappa)) ** 2
    error = NORMAL * float(np.sqrt(max(variance, 0.0) / number)) / (1 - chance)
    return Agreement(number, same, kappa, max(-1.0, kappa - error), min(1.0, kappa + error))
