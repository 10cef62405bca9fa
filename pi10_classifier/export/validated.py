"""What ``pi10 validate`` has made of a run: corrected densities, by stratum and by bin."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.sample import ALL, DESIGN, FOLDER, Design, strata_of
from pi10_classifier.results.run_info import classes_of

CORRECTED, CORRECTED_BINS = "corrected.csv", "corrected_bins.csv"


@dataclass(frozen=True, slots=True)
class Corrected:
    """A density per litre with 95 % limits that cover counting and classification.

    labelled: particles that people labelled in the stratum, 0 where the table does not say.
    """

    per_litre: float
    low: float | None
    high: float | None
    labelled: int = 0


@dataclass(frozen=True, slots=True)
class Validated:
    """by_bin: (bin, label); by_stratum: (stratum, label). refused: strata not to be published.

    litres: of the strata. stratum_of: bin -> stratum, None where it has none.
    """

    by_bin: Mapping[tuple[str, str], Corrected] = field(default_factory=dict)
    by_stratum: Mapping[tuple[str, str], Corrected] = field(default_factory=dict)
    litres: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    stratum_of: Callable[[str], str | None] = lambda _: None

    def __bool__(self) -> bool:
        return bool(self.by_bin or self.by_stratum)


def read_validated(run: Path) -> Validated:
    """Empty where nothing was validated. Raises SettingError where the tables are not whole.

    Where each bin has its own corrected density, those of strata are left out: one animal must not
    be published twice.
    """
    folder = run / FOLDER
    path = folder / CORRECTED
    if not path.is_file():
        return Validated()
    design = Design.read(folder / DESIGN)
    classes_of(run, design.model_sha256)
    strata: dict[tuple[str, str], Corrected] = {}
    litres: dict[str, float] = {}
    refused: dict[str, str] = {}
    for line, row in _rows(path, ("stratum", "label", "per_litre", "publishable", "litres")):
        stratum, where = row["stratum"], f"{path}, line {line}"
        if row["publishable"] != "True":
            refused[stratum] = row.get("note", "")
            continue
        strata[stratum, row["label"]] = _corrected(row, where)
        litres[stratum] = _number(row["litres"], where) or 0.0
    bins: dict[tuple[str, str], Corrected] = {}
    path = folder / CORRECTED_BINS
    if path.is_file():
        for line, row in _rows(path, ("bin", "stratum", "label", "per_litre")):
            if row["per_litre"] and row["stratum"] not in refused:
                bins[row["bin"], row["label"]] = _corrected(row, f"{path}, line {line}")
    elif design.by == "bin":  # the strata are the bins
        bins = strata
    return Validated(bins, {} if bins else strata, litres, refused, strata_of(design.by))


def is_whole_cruise(stratum: str) -> bool:
    """True of the one stratum of ``pi10 validate draw --by cruise``."""
    return stratum == ALL


def _corrected(row: Mapping[str, str], where: str) -> Corrected:
    per_litre = _number(row["per_litre"], where)
    if per_litre is None:
        raise SettingError(f"{where}: per_litre is empty; run: pi10 validate estimate RESULTS")
    low, high = (
        _number(row.get(f"per_litre_{end}") or row.get(end) or "", where) for end in ("low", "high")
    )
    return Corrected(per_litre, low, high, int(_number(row.get("labelled") or "", where) or 0))


def _number(text: str, where: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise SettingError(f"{where}: {text!r} is no number; run: pi10 validate estimate RESULTS")
    return value


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            for row in reader:
                if None in row or None in row.values() or not set(needed) <= set(row):
                    raise SettingError(
                        f"{path}, line {reader.line_num} is not whole; make it again: "
                        "pi10 validate estimate RESULTS"
                    )
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); make it again: pi10 validate estimate RESULTS"
        ) from error
