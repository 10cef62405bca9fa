"""Selects the labelled images to evaluate or fit a package on: all, or those of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pi10_classifier.datasets.checks import lost_label, of_input
from pi10_classifier.datasets.discovery import find_origins
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.manifest import read_manifest
from pi10_classifier.datasets.records import Entry, LeftOut, Sample, Scan
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import SettingError


def load_labelled(
    inputs: Sequence[Path],
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    *,
    outside: bool = False,
) -> Scan:
    """Scan the inputs, or take their images and splits from ``manifest``.

    With a manifest no scan is needed: no image is read yet, and ``scan.read_rgb`` refuses one that
    is gone or changed. Only its sources that are among the inputs count; a label map gives its
    labels other classes. outside: as in ``scan``. Raises SettingError if an input is not in the
    manifest.
    """
    if manifest is None:
        return scan(inputs, label_map, outside=outside)
    try:
        listed = read_manifest(manifest.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"manifest {manifest} cannot be read: {error}") from error
    except SettingError as error:
        raise SettingError(f"{manifest}: {error.message}") from error
    origins = find_origins(inputs)
    samples = [sample for sample in listed if sample.source in origins]
    used = {sample.source for sample in samples}
    for path in inputs:
        if not of_input(path, origins) & used:
            raise SettingError(
                f"{path} is not in {manifest}, whose sources are"
                f" {', '.join(sorted({s.source for s in listed}))}; name the inputs that it was"
                " made from"
            )
    left_out: list[LeftOut] = []
    if label_map:
        samples, left_out = _relabelled(samples, label_map)
    classes = tuple(sorted({sample.group for sample in samples}))
    return Scan(tuple(samples), tuple(left_out), classes, origins)


def _relabelled(
    samples: Iterable[Sample], label_map: LabelMap
) -> tuple[list[Sample], list[LeftOut]]:
    kept, left_out = [], []
    for sample in samples:
        group = label_map.group(sample.label)
        why = lost_label(Entry(sample.source, sample.member, sample.label), group, label_map)
        if why:
            left_out.append(why)
        else:
            kept.append(replace(sample, group=group or ""))
    return kept, left_out


def of_split(scan: Scan, split: str) -> list[Sample]:
    """The samples of one split, as given by a manifest or table; SettingError if there are none."""
    chosen = [sample for sample in scan.samples if sample.split == split]
    if not chosen:
        known = ", ".join(sorted({sample.split for sample in scan.samples} - {""}))
        raise SettingError(
            f"no image is in split {split!r}; "
            + (
                f"there are {known}"
                if known
                else "--split needs --manifest, the manifest.csv of a training or of"
                " `pi10 dataset`, or a table with a column split"
            )
        )
    return chosen
