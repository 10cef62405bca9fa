"""Make a reference of a good run, from the columns of its predictions table: no pixels are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.drift.quantities import CAMERA, FIELD, MIX, QUANTITIES
from pi10_classifier.drift.reference import CELLS, FORMAT, Reference, section
from pi10_classifier.drift.statistics import between
from pi10_classifier.drift.sums import columns_of, count_images
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.model.package import Package, read_package
from pi10_classifier.model.writer import check_out, derive, extended_card, write_package
from pi10_classifier.results.run_folder import PREDICTIONS

LEAST_IMAGES = 1_000  # with a particle
LEAST_MINUTES = 10  # with LEAST_OF_MINUTE images, to know how much minutes differ
LEAST_OF_CLASS = 200  # images, for deciles that hold
LEAST_OF_MINUTE = 50


@dataclass(frozen=True, slots=True)
class ReferenceMade:
    """The written file or package. lacking: quantities that the run's table does not tell."""

    path: Path
    reference: Reference
    lacking: tuple[str, ...]
    classes_left_out: tuple[str, ...]


def export_reference(run: Path, package: Package, out: Path, *, version: str = "") -> ReferenceMade:
    """Write the reference of a run: as a file where ``out`` ends in .json, else as a package.

    Raises SettingError where the run is of another model or too small, and OutputError.
    """
    as_file = out.suffix == ".json"
    if not as_file:
        check_out(out, package)
    fields, lacking = reference_of(run, package)
    reference = Reference.from_dict(fields)
    assert reference is not None  # noqa: S101  narrows the type
    left_out = tuple(label for label in reference.classes if label not in reference.cells)
    if as_file:
        text = json.dumps(fields, indent=1, allow_nan=False) + "\n"
        write_atomically(out, text.encode())
    else:
        described = derive(
            package,
            "reference",
            version=version or f"{package.version}+reference",
            parity=package.description.get("parity"),  # the graph is the same
            summary=package.description.get("summary"),
            **{FIELD: fields},
        )
        sections = extended_card(package, described, section(described))
        write_package(out, read_package(package.folder)[1], described, sections)
    return ReferenceMade(out, reference, lacking, left_out)


def reference_of(run: Path, package: Package) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The reference of a run as JSON, and the quantities that its table lacks."""
    told = _run(run)
    if not package.has_graph(told["model"]["sha256"]):
        raise SettingError(
            f"{run} was classified by {told['model']['name']}"
            f" ({str(told['model']['sha256'])[:8]}), not {package.name} ({package.sha256[:8]});"
            " name that package by --model"
        )
    table = _columns(run)
    return fit_reference(table, package, float(told["parameters"]["um_per_px"]), str(run))


def fit_reference(
    table: Mapping[str, Sequence[Any]], package: Package, um_per_px: float, name: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The reference of rows, and the quantities that they lack.

    table: columns of the predictions table, one cell per image, with bin, datetime and label.
    name: of the run, for errors. Raises SettingError where the rows are too few.
    """
    lacking = tuple(
        quantity
        for quantity, about in QUANTITIES.items()
        if not any(value is not None for value in table.get(about.column, ()))
    )
    labels = np.array(table["label"])
    numbers = {label: int((labels == label).sum()) for label in package.classes}
    images = sum(numbers.values())
    if images < LEAST_IMAGES:
        raise SettingError(
            f"{name} has {images:,} images with a particle; a reference needs {LEAST_IMAGES:,}"
        )
    quantities: dict[str, Any] = {}
    for quantity, about in QUANTITIES.items():
        if quantity in lacking:
            continue
        values = np.array(table[about.column], np.float64)
        histograms = {
            label: _histogram(values[(labels == label) & np.isfinite(values)])
            for label in package.classes
        }
        quantities[quantity] = {
            "mean": 0.0,
            "between_sd": 0.0,
            "classes": {label: cells for label, cells in histograms.items() if cells},
        }
    fields: dict[str, Any] = {
        "format": FORMAT,
        "model": package.name,
        "model_sha256": package.sha256,
        "um_per_px": um_per_px,
        "images": images,
        "minutes": 1,
        "mix": {label: number / images for label, number in numbers.items()},
        "mix_between": 0.0,
        "quantities": quantities,
    }
    draft = Reference.from_dict(fields)
    assert draft is not None  # noqa: S101  narrows the type
    columns = {column: table[column] for column in columns_of(draft)}
    minutes = [
        counts
        for (_, minute), counts in sorted(count_images(draft, columns).items())
        if minute and counts[:, 0].sum() >= LEAST_OF_MINUTE
    ]
    if len(minutes) < LEAST_MINUTES:
        raise SettingError(
            f"{name} has {len(minutes)} minutes with {LEAST_OF_MINUTE} images; a reference needs"
            f" {LEAST_MINUTES}, to know how much good minutes differ"
        )
    fields["minutes"] = len(minutes)
    for quantity, (mean, spread) in between(draft, minutes).items():
        if quantity == MIX:
            fields["mix_between"] = mean
        else:
            quantities[quantity] |= {"mean": mean, "between_sd": spread}
    return fields, lacking


def _run(run: Path) -> dict[str, Any]:
    try:
        told = json.loads((run / "run.json").read_text("utf-8"))
        return {name: told[name] for name in ("model", "parameters")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(
            f"{run} holds no finished run ({type(error).__name__}: {error}); name the --out of"
            " `pi10 classify`"
        ) from error


def _columns(run: Path) -> Mapping[str, list[Any]]:
    """The table's columns that a reference is made of."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        data = ds.dataset(run / PREDICTIONS, format="parquet")
        wanted = [q.column for q in QUANTITIES.values() if q.column in data.schema.names]
        table = data.to_table(columns=["bin", "datetime", "label", *wanted])
    except (OSError, pa.ArrowException) as error:
        raise SettingError(f"{run / PREDICTIONS} cannot be read: {error}") from error
    return {name: table[name].to_pylist() for name in table.column_names}


def _histogram(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any] | None:
    """Deciles as edges, and the share of values in each cell; None of too few values."""
    if len(values) < LEAST_OF_CLASS:
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, CELLS + 1)[1:-1]))
    edges = edges[edges > values.min()]  # a cell below the smallest value stays empty
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "shares": (counts / len(values)).tolist()}


def lacks_camera(made: ReferenceMade) -> bool:
    """True where the run had no columns of the camera."""
    return any(QUANTITIES[name].subject == CAMERA for name in made.lacking)
