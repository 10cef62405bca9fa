"""Scans labelled images: each is read once, checked and hashed, or left out with a reason."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.checks import (
    check_classes,
    check_inputs_used,
    contradicted,
    lost_label,
    mislabelled,
    of_no_class,
    repeated,
)
from pi10_classifier.datasets.discovery import entries, find_origins
from pi10_classifier.datasets.duplicates import Fingerprint, clusters, fingerprint
from pi10_classifier.datasets.formats.image_labels import LabelFile
from pi10_classifier.datasets.label_map import LEFT_OUT, LabelMap, check_twins
from pi10_classifier.datasets.records import Entry, LeftOut, Sample, Scan
from pi10_classifier.datasets.taxa.source_labels import check_has_label, taxa_of, uses
from pi10_classifier.datasets.validated import no_class
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.decode import decode
from pi10_classifier.labelling.labelled import run_of
from pi10_classifier.sources.input_rules import normalised_name

__all__ = ["LeftOut", "Sample", "Scan", "read_rgb", "reopen", "scan"]

U8 = NDArray[np.uint8]


def scan(
    inputs: Sequence[Path],
    label_map: LabelMap | None = None,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    outside: bool = False,
    labels: LabelFile | None = None,
) -> Scan:
    """Read and check every image of folders, archives, tables and runs' labelled particles once.

    Without a label map the class is the label's first folder. ``progress`` receives the number of
    files done. outside: keep the particles of a run whose label is not a class (artefact, several,
    unknown, no_particle), to evaluate a model on them. labels: of another tool, in place of the
    folders' names; images without one are left out.
    Memory: about 2 KB per image, whatever its size.
    Raises SettingError if an input is unusable or gives no image, or if a class has no image.
    """
    origins = find_origins(inputs)
    if labels and (run := next(filter(None, map(run_of, origins.values())), None)):
        raise SettingError(
            f"{run} is a run, whose particles are labelled by: pi10 validate import {run} FILE"
        )
    left_out: list[LeftOut] = []
    samples: list[Sample] = []
    fingerprints: list[Fingerprint] = []
    groups: dict[str, str | None] = {}
    lost: dict[str, LeftOut] = {}
    files: Counter[tuple[str, str]] = Counter()
    twice: dict[tuple[str, str], str] = {}  # source and name -> its second class

    def labelled() -> Iterator[tuple[Entry, str]]:
        for source, path in origins.items():
            run = run_of(path)
            beside = no_class(run) if run else frozenset[str]()
            named: dict[str, str | None] = {}  # name -> its first class
            by_taxon = taxa_of(path, label_map) if labels is None else None
            for entry in entries(source, path):
                if labels:
                    entry, unlabelled = labels.give(entry)
                elif by_taxon:
                    entry, unlabelled = by_taxon.give(entry)
                else:
                    unlabelled = None
                if unlabelled:
                    left_out.append(unlabelled)
                    continue
                check_has_label(entry, path, labels or by_taxon)
                files[source, entry.label] += 1
                if entry.label not in groups:
                    groups[entry.label] = (
                        label_map.group(entry.label) if label_map else entry.label.split("/")[0]
                    )
                group = groups[entry.label]
                if entry.label in beside and (label_map is None or group is None):
                    group = entry.label
                    if not outside:
                        left_out.append(of_no_class(entry))
                        continue
                asked = group == LEFT_OUT  # then a read error does not matter
                why = lost_label(entry, group, label_map) if asked or not entry.error else None
                key = normalised_name(entry.member)
                if why is None and entry.error is None and key in named:
                    why = repeated(entry)
                    if named[key] != group:
                        why = contradicted(entry, group, named[key])
                        twice[source, key] = group or ""
                if not (entry.error and entry.error.code is Code.REPEATED_NAME):
                    named.setdefault(key, group)
                if why:
                    left_out.append(why)
                else:
                    yield entry, group or ""
            left_out.extend(by_taxon.unused(source) if by_taxon else ())

    for done, (group, outcome) in enumerate(
        ordered_map(_read, labelled(), threads or _readers()), start=1
    ):
        if isinstance(outcome, LeftOut):
            left_out.append(outcome)
            if group and group != LEFT_OUT:
                lost.setdefault(group, outcome)
        else:
            samples.append(outcome[0])
            fingerprints.append(outcome[1])
        progress(done)
    wrong = mislabelled(samples)
    for place, sample in enumerate(samples):
        other = twice.get((sample.source, normalised_name(sample.member)))
        if other is not None and place not in wrong:
            wrong[place] = contradicted(sample, sample.group, other)
    left_out += wrong.values()
    left_out += labels.unused() if labels else ()
    for place, why in wrong.items():
        lost.setdefault(samples[place].group, why)
    kept = [i for i in range(len(samples)) if i not in wrong]
    names = clusters([samples[i].sha256 for i in kept], [fingerprints[i] for i in kept])
    samples = [replace(samples[i], cluster=name) for i, name in zip(kept, names, strict=True)]
    samples.sort(key=lambda s: (s.source, s.member))
    left_out.sort(key=lambda x: (x.source, x.member, x.code))
    classes = tuple(sorted({sample.group for sample in samples}))
    check_twins(classes)
    check_inputs_used(inputs, origins, samples, left_out)
    check_classes(classes, lost, label_map, left_out)
    unused = label_map.unused(groups) if label_map else ()
    taxa = uses(files, label_map)
    return Scan(tuple(samples), tuple(left_out), classes, origins, unused, taxa)


def _read(given: tuple[Entry, str]) -> tuple[str, LeftOut | tuple[Sample, Fingerprint]]:
    """The class of an entry, and its sample or the reason why there is none."""
    entry, group = given
    try:
        if entry.error or entry.data is None:
            raise entry.error or InputError(
                Code.EMPTY_OBJECT, "the file has 0 bytes; copy it again"
            )
        seen = fingerprint(decode(entry.data).rgb)
    except InputError as error:
        return group, LeftOut(entry.source, entry.member, error.code.value, error.message)
    sample = Sample(
        source=entry.source,
        member=entry.member,
        label=entry.label,
        group=group,
        bin=entry.bin,
        split=entry.split,
        sha256=hashlib.sha256(entry.data).hexdigest(),
        width=seen.width,
        height=seen.height,
    )
    return group, (sample, seen)


def reopen(samples: Iterable[Sample], inputs: Sequence[Path]) -> Scan:
    """Make a scan from a manifest's samples, reading no image; ``read_rgb`` checks the hashes."""
    samples = tuple(samples)
    origins = find_origins(inputs)
    missing = sorted({sample.source for sample in samples} - set(origins))
    if missing:
        raise SettingError(
            f"the manifest's source {missing[0]!r} is not among the inputs"
            f" ({', '.join(origins)}); name its folder, archive or table"
        )
    return Scan(samples, (), tuple(sorted({s.group for s in samples})), origins)


def read_rgb(
    scan: Scan,
    samples: Iterable[Sample],
    *,
    threads: int | None = None,
    change: Mapping[str, Callable[[U8], U8]] | None = None,
) -> Iterator[tuple[Sample, U8]]:
    """Decode the samples to RGB (H, W, 3) uint8, in the order of their sources.

    ``change`` gives a source's images a transform, e.g. ``devices.Device.apply``.
    Raises SettingError if a sample is gone, or has changed since the scan.
    """
    wanted: dict[str, dict[str, Sample]] = {}
    for sample in samples:
        wanted.setdefault(sample.source, {})[sample.member] = sample

    def chosen() -> Iterator[tuple[Sample, Entry]]:
        for source, path in scan.origins.items():
            left = wanted.get(source, {})
            for entry in entries(source, path, left) if left else ():
                sample = left.pop(entry.member, None)
                if sample:
                    yield sample, entry
            if left:
                gone = min(left)
                raise SettingError(
                    f"{path} no longer holds {gone} ({len(left)} gone); restore"
                    " it, or make the manifest again"
                )

    def read(given: tuple[Sample, Entry]) -> tuple[Sample, U8]:
        sample, entry = given
        name = f"{scan.origins[sample.source]}: {sample.member}"
        data = entry.data or b""
        if entry.error is None and sample.sha256:
            digest = hashlib.sha256(data).hexdigest()
            if digest != sample.sha256:
                raise SettingError(
                    f"{name} has SHA-256 {digest[:12]}…, not {sample.sha256[:12]}… as in the"
                    " manifest; it has changed: scan and split again"
                )
        try:
            if entry.error:
                raise entry.error
            rgb = decode(data).rgb
        except InputError as error:
            raise SettingError(f"{name}: {error.message}; remove it from the data") from error
        transform = (change or {}).get(sample.source)
        return sample, transform(rgb) if transform else rgb

    return ordered_map(read, chosen(), threads or _readers())


def _readers() -> int:
    return min(8, os.cpu_count() or 1)
