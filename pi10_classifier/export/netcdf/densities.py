"""Densities of the taxa: of the minutes, of their bins, and corrected ones, with their limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.export.netcdf.track import Point
from pi10_classifier.export.netcdf.variables import (
    BESIDE,
    LITRES,
    MEASURED,
    QUALITY,
    TAXON,
    TIME,
    Variable,
)
from pi10_classifier.export.run_tables import Amount, RunTables, together
from pi10_classifier.export.taxa import Taxon
from pi10_classifier.export.validated import Validated

CONCENTRATION = "number_concentration_of_biological_taxon_in_sea_water"
_OF_BIN = "of the whole bin that the minute belongs to, and so the same in all its minutes"
_ONE = "each image of a class is raised by (hits + misses) / images of the minute"


def densities(
    run: RunTables, points: Sequence[Point], groups: Mapping[Taxon, tuple[str, ...]]
) -> list[Variable]:
    """What the model alone gives, in individuals per cubic metre."""
    of_minutes = [_amounts(point.minute.amounts, groups, point.minute.litres) for point in points]
    of_bins = {
        name: _amounts(run.bins[name].amounts, groups, run.bins[name].litres)
        for name in {point.minute.bin for point in points}
    }
    by_bin = [of_bins[point.minute.bin] for point in points]
    water = "95 % limit for the water sampled: Poisson counts"
    counts = _matrix(of_minutes, lambda a: a.count + a.count_outside)
    return [
        Variable("image_count", "i4", (TAXON, TIME), counts,
                 {"long_name": "images that the model gave the taxon", "units": "1",
                  "standard_name": "number_of_observations",
                  "coordinates": COORDINATES, "coverage_content_type": BESIDE}),
        density("density", _matrix(of_minutes, lambda a: a.per_litre),
                "individuals of the taxon in the minute", standard_name=CONCENTRATION,
                cell_methods="time: mean", comment=_ONE,
                ancillary_variables="density_low density_high image_count quality_l20 "
                "quality_qartod sampling_flags"),
        density("density_low", _matrix(of_minutes, lambda a: a.low), f"lower {water}"),
        density("density_high", _matrix(of_minutes, lambda a: a.high), f"upper {water}"),
        density("bin_density", _matrix(by_bin, lambda a: a.per_litre),
                "individuals of the taxon in the bin", standard_name=CONCENTRATION,
                comment=f"{_OF_BIN}; {_ONE}",
                ancillary_variables="bin_density_low bin_density_high bin_water_mass_low "
                "bin_water_mass_high"),
        density("bin_density_low", _matrix(by_bin, lambda a: a.low), f"lower {water}",
                comment=_OF_BIN),
        density("bin_density_high", _matrix(by_bin, lambda a: a.high), f"upper {water}",
                comment=_OF_BIN),
        density("bin_water_mass_low", _matrix(by_bin, lambda a: a.water_mass_low),
                "lower 95 % limit for the water mass: differences between minutes",
                comment=_OF_BIN),
        density("bin_water_mass_high", _matrix(by_bin, lambda a: a.water_mass_high),
                "upper 95 % limit for the water mass: differences between minutes",
                comment=_OF_BIN),
    ]  # fmt: skip


COORDINATES = "time latitude longitude depth trajectory taxon_name taxon_lsid"


def density(
    name: str, per_litre: NDArray[np.float64], long_name: str, **attributes: str
) -> Variable:
    """A density of the taxa in individuals per cubic metre; per_litre: (taxa, minutes)."""
    return Variable(
        name, "f8", (TAXON, TIME), per_litre * LITRES,
        {
            "long_name": long_name, "units": "m-3", **attributes, "coordinates": COORDINATES,
            "grid_mapping": "crs",
            "coverage_content_type": MEASURED if "standard_name" in attributes else QUALITY,
        },
    )  # fmt: skip


def _amounts(
    amounts: Mapping[str, Amount], groups: Mapping[Taxon, tuple[str, ...]], litres: float | None
) -> list[Amount | None]:
    """One for each taxon; None where a class of it is not in the tables."""
    return [
        together([amounts[label] for label in labels], litres)
        if all(label in amounts for label in labels)
        else None
        for labels in groups.values()
    ]


def _matrix(
    rows: Sequence[Sequence[Amount | None]], get: Callable[[Amount], float | None]
) -> NDArray[np.float64]:
    values = [[np.nan if a is None or (v := get(a)) is None else v for a in row] for row in rows]
    return np.array(values, "f8").T  # CF wants time last


def corrected(
    points: Sequence[Point], groups: Mapping[Taxon, tuple[str, ...]], validated: Validated
) -> list[Variable]:
    """Nothing where no bin has a corrected density."""
    if not validated.by_bin:
        return []
    values = np.full((3, len(groups), len(points)), np.nan)
    for row, labels in enumerate(groups.values()):
        for column, point in enumerate(points):
            known = [validated.by_bin.get((point.minute.bin, label)) for label in labels]
            parts = [part for part in known if part]
            if parts and len(parts) == len(known):
                values[0, row, column] = sum(part.per_litre for part in parts)
                # the limits of several classes cannot be added
                if len(parts) == 1 and parts[0].low is not None and parts[0].high is not None:
                    values[1:, row, column] = parts[0].low, parts[0].high
    limit = "95 % limit: counting, errors of the model, and differences between bins"
    return [
        density("corrected_density", values[0],
                "individuals of the taxon in the bin, corrected for the model's errors",
                standard_name=CONCENTRATION,
                comment=f"{_OF_BIN}; corrected by a probability sample that people labelled",
                ancillary_variables="corrected_density_low corrected_density_high "
                "classification_l20"),
        density("corrected_density_low", values[1], f"lower {limit}", comment=_OF_BIN),
        density("corrected_density_high", values[2], f"upper {limit}", comment=_OF_BIN),
    ]  # fmt: skip
