"""What a run holds now, by bin and predicted class: for its bins, and to see that it changed.

A sample speaks of the run it was drawn from. Where the run was extended or classified anew since,
the totals of the sample's design are no longer those of the run, and a correction would be wrong
without anybody noticing.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.sample import Totals, strata_of

_NEEDED = ("bin", "minute", "label", "count", "litres", "raising_factor")
ROUNDING = 1e-4  # tables have six digits


@dataclass(slots=True)
class RunTotals:
    """Sums over the minutes that have a raising factor.

    cells: (bin, predicted class) -> totals; ``largest`` is of all these minutes, whether or not
    they have a particle of the class. litres: bin -> litres of the minutes with a density.
    """

    cells: dict[tuple[str, str], Totals] = field(default_factory=dict)
    litres: dict[str, float] = field(default_factory=dict)

    def litres_by(self, by: str) -> dict[str, float]:
        """Stratum -> litres; by: as of ``strata_of``."""
        stratum_of = strata_of(by)
        sums: dict[str, float] = {}
        for name, litres in self.litres.items():
            stratum = stratum_of(name)
            if stratum is not None:
                sums[stratum] = sums.get(stratum, 0.0) + litres
        return sums


def read_totals(run: Path) -> RunTotals:
    """The totals in ``counts.csv``. Raises SettingError where it cannot be read."""
    path = run / "counts.csv"
    totals = RunTotals()
    last = ("", "")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            places = [header.index(name) for name in _NEEDED]
            for row in rows:
                name, minute, label, count, litres, factor = (row[place] for place in places)
                # a minute has a row for each class, and its litres once
                if litres and (name, minute) != last:
                    last = (name, minute)
                    totals.litres[name] = totals.litres.get(name, 0.0) + float(litres)
                if not factor:
                    continue
                cell = totals.cells.setdefault((name, label), Totals())
                particles, weight = int(count), float(factor)
                cell.particles += particles
                cell.raised += particles * weight
                cell.variance += particles * weight**2
                cell.largest = max(cell.largest, weight)
    except (OSError, ValueError, IndexError) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); write it again: pi10 classify … --resume"
        ) from error
    return totals


def change_since(
    totals: RunTotals, strata: Mapping[str, Mapping[str, Totals]], by: str
) -> str | None:
    """How the run differs from the one that a design was made of; None where it does not."""
    stratum_of = strata_of(by)
    now: dict[tuple[str, str], Totals] = {}
    for (name, label), cell in totals.cells.items():
        stratum = stratum_of(name)
        if stratum is None or not cell.particles:
            continue
        here = now.setdefault((stratum, label), Totals())
        here.particles += cell.particles
        here.raised += cell.raised
    then = {
        (name, label): its for name, classes in strata.items() for label, its in classes.items()
    }
    for key in sorted({*now, *then}):
        before, after = then.get(key, Totals()), now.get(key, Totals())
        same = abs(after.raised - before.raised) <= ROUNDING * max(before.raised, after.raised)
        if before.particles != after.particles or not same:
            return (
                f"stratum {key[0]}, predicted {key[1]}: {before.particles:,} particles that stand "
                f"for {before.raised:,.6g} when the sample was drawn, {after.particles:,} for "
                f"{after.raised:,.6g} now"
            )
    return None


def refuse_changed(
    run: Path, totals: RunTotals, strata: Mapping[str, Mapping[str, Totals]], by: str
) -> None:
    """Raises SettingError where the run is no longer the one that the sample was drawn from."""
    if change := change_since(totals, strata, by):
        raise SettingError(
            f"the sample in {run} was drawn before the run changed ({change}); draw it again as "
            f"before: pi10 validate draw {run} --by {by}, with the same --n and --seed. Labels "
            "are kept, and count for the particles that are drawn again"
        )
