"""Writes ``drift.csv``: each minute's differences from the reference, and what alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pi10_classifier.drift.chart import Monitors, subjects
from pi10_classifier.drift.quantities import CAMERA, MODEL, SEA, subject_of
from pi10_classifier.drift.reference import Reference
from pi10_classifier.drift.statistics import cells_psi, mix_psi, shift
from pi10_classifier.drift.sums import Minutes
from pi10_classifier.foundation.files import write_csv

FILE = "drift.csv"
Alarms = dict[str, dict[str, float]]
"""Bin -> quantity -> signed height of its chart over the limit, the largest of its minutes."""

REMEDIES = {
    CAMERA: "look at the images; clean the flow cell, check lamp, focus and settings",
    MODEL: "look at the images; label a sample, as the classes may be less sure than before",
    SEA: "another sea or season, if the camera is as before: validate a sample of it",
}


def write_drift(path: Path, reference: Reference, minutes: Minutes) -> Alarms:
    """Write the table, and return the alarms by bin. Minutes without a time are left out."""
    alarms: Alarms = {}
    write_csv(path, _header(reference), _rows(reference, minutes, alarms))
    return alarms


def _header(reference: Reference) -> list[str]:
    shifts = [f"{name}_{what}" for name in reference.quantities for what in ("shift", "psi")]
    return ["bin", "minute", "images", *shifts, "mix_psi", "alarms", "subjects"]


def _rows(reference: Reference, minutes: Minutes, alarms: Alarms) -> Iterator[Sequence[Any]]:
    monitors = Monitors(reference)
    for bin_id, minute in sorted(minutes, key=lambda key: (key[1], key[0])):
        if not minute:
            continue
        table = minutes[bin_id, minute]
        heights = monitors.take(bin_id, table)
        in_bin = alarms.setdefault(bin_id, {})
        for name, height in heights.items():
            if abs(height) > abs(in_bin.get(name, 0.0)):
                in_bin[name] = height
        cells: list[Any] = []
        for name in reference.quantities:
            told = shift(reference, table, name)
            index = cells_psi(reference, table, name)
            cells.append(f"{told.value:.4f}" if told else None)
            cells.append(None if index is None else f"{index:.4f}")
        cells.append(f"{mix_psi(reference, table):.4f}")
        images = int(table[:, 0].sum())
        yield (bin_id, minute, images, *cells, ";".join(heights),
               ";".join(subjects(heights)))  # fmt: skip


def cell(alarms: Alarms, bin_id: str) -> str:
    """A bin's alarms as ``camera:sharpness;sea:mix``; "" for none."""
    return ";".join(sorted(f"{subject_of(name)}:{name}" for name in alarms.get(bin_id, {})))


def warnings_of(alarms: Alarms) -> list[str]:
    """What the user is warned of, one line for each of camera, model and sea."""
    lines = []
    for subject, remedy in REMEDIES.items():
        names: dict[str, float] = {}
        bins = []
        for bin_id, heights in sorted(alarms.items()):
            mine = {name: height for name, height in heights.items() if subject_of(name) == subject}
            names |= mine
            if mine:
                bins.append(bin_id)
        if bins:
            named = ", ".join(bins[:3]) + (" and others" if len(bins) > 3 else "")
            told = ", ".join(f"{name} ({_side(name, height)})" for name, height in names.items())
            lines.append(
                f"{len(bins):,} of {len(alarms):,} bins ({named}): the {subject} differs from the"
                f" reference in {told}; {remedy}"
            )
    return lines


def _side(name: str, height: float) -> str:
    return "other" if name == "mix" else "higher" if height > 0 else "lower"
