"""Labelled images for training: every one read once, checked, hashed and accounted for."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.decode import decode
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.training.duplicates import Look, clusters, contradictions, look
from pi10_classifier.training.labels import LEFT_OUT, LabelMap
from pi10_classifier.training.listing import Entry, entries, find_origins
from pi10_classifier.training.sample import LeftOut, Sample, Scan

__all__ = ["LeftOut", "Sample", "Scan", "in_order", "read_rgb", "reopen", "scan"]

U8 = NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # entries under way per thread: what bounds the memory


def scan(
    inputs: Sequence[Path],
    label_map: LabelMap | None = None,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Scan:
    """Read and check every image of folders, archives and tables once.

    Without a label map the class is the label's first folder. ``progress`` receives the
    number of files done. Memory: about 2 KB an image, whatever the images' sizes.
    Raises SettingError where an input is unusable, nothing is left, or a class of the
    label map has no image.
    """
    origins = find_origins(inputs)
    left_out: list[LeftOut] = []
    samples: list[Sample] = []
    looks: list[Look] = []

    def labelled() -> Iterator[tuple[Entry, str]]:
        for source, path in origins.items():
            for entry in entries(source, path):
                group = label_map.group(entry.label) if label_map else entry.label.split("/")[0]
                lost = None if entry.error else _lost_label(entry, group)
                if lost:
                    left_out.append(lost)
                else:
                    yield entry, group or ""

    def read(given: tuple[Entry, str]) -> Sample | LeftOut | tuple[Sample, Look]:
        entry, group = given
        try:
            if entry.error or entry.data is None:
                raise entry.error or InputError(Code.EMPTY_OBJECT, "0 bytes; fetch it again")
            seen = look(decode(entry.data).rgb)
        except InputError as error:
            return LeftOut(entry.source, entry.member, error.code.value, error.message)
        digest = hashlib.sha256(entry.data).hexdigest()
        return (
            Sample(
                source=entry.source,
                member=entry.member,
                label=entry.label,
                group=group,
                bin=entry.bin,
                split=entry.split,
                sha256=digest,
                width=seen.width,
                height=seen.height,
            ),
            seen,
        )

    for done, found in enumerate(in_order(read, labelled(), threads), start=1):
        if isinstance(found, tuple):
            samples.append(found[0])
            looks.append(found[1])
        elif isinstance(found, LeftOut):
            left_out.append(found)
        progress(done)
    kept = _keep(samples, left_out)
    names = clusters([samples[i].sha256 for i in kept], [looks[i] for i in kept])
    samples = [replace(samples[i], cluster=name) for i, name in zip(kept, names, strict=True)]
    samples.sort(key=lambda s: (s.source, s.member))
    left_out.sort(key=lambda x: (x.source, x.member, x.code))
    classes = tuple(sorted({sample.group for sample in samples}))
    _check_classes(classes, label_map, origins, samples, left_out)
    return Scan(tuple(samples), tuple(left_out), classes, origins)


def _lost_label(entry: Entry, group: str | None) -> LeftOut | None:
    if group == LEFT_OUT:
        code, message = Code.LABEL_LEFT_OUT, f"label {entry.label!r} is '-' in the label map"
    elif group is None:
        code, message = (
            Code.UNKNOWN_LABEL,
            f"label {entry.label!r} matches no line of the label map; add one, or '-'",
        )
    elif not group:
        code, message = (
            Code.UNKNOWN_LABEL,
            "no label: the file lies in no folder; move it into one named as its class",
        )
    else:
        return None
    return LeftOut(entry.source, entry.member, code.value, message)


def _keep(samples: Sequence[Sample], left_out: list[LeftOut]) -> list[int]:
    """Places of the samples to keep; the mislabelled and the repeated go to ``left_out``."""
    kept: list[int] = []
    named: set[tuple[str, str]] = set()
    other = contradictions([s.sha256 for s in samples], [s.group for s in samples])
    for place, s in enumerate(samples):
        if place in other:
            twin = samples[other[place]]
            message = (
                f"is {s.group!r} here, and {twin.group!r} as {twin.source}: {twin.member};"
                f" keep the right one of the two"
            )
            left_out.append(LeftOut(s.source, s.member, Code.MISLABELLED.value, message))
        elif (s.source, s.member) in named:
            message = "the name occurs before in this source; the first was used"
            left_out.append(LeftOut(s.source, s.member, Code.REPEATED_NAME.value, message))
        else:
            named.add((s.source, s.member))
            kept.append(place)
    return kept


def _check_classes(
    classes: tuple[str, ...],
    label_map: LabelMap | None,
    origins: Mapping[str, Path],
    samples: Sequence[Sample],
    left_out: Sequence[LeftOut],
) -> None:
    why = ", ".join(f"{n} {code}" for code, n in Counter(x.code for x in left_out).items())
    first = f"; first: {left_out[0].member}: {left_out[0].message}" if left_out else ""
    for source in origins:
        if not any(sample.source == source for sample in samples):
            raise SettingError(
                f"{origins[source]} has no usable image for source {source!r}"
                f" (left out: {why or 'none'}{first}); images must lie in folders named as"
                f" their class, or in a table of path,label"
            )
    empty = sorted(set(label_map.classes) - set(classes)) if label_map else []
    if empty:
        unknown = sorted(
            {x.member.rpartition("/")[0] for x in left_out if x.code == Code.UNKNOWN_LABEL}
        )
        raise SettingError(
            f"the label map leaves class {empty[0]!r} empty: none of its labels occurs"
            + (f"; labels without a line: {', '.join(unknown[:20])}" if unknown else "")
        )


def reopen(samples: Iterable[Sample], inputs: Sequence[Path]) -> Scan:
    """A scan from a manifest's samples, reading no image; ``read_rgb`` checks the hashes."""
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
    """Decode the samples to RGB (H, W, 3) uint8, in the sources' own order.

    ``change`` gives a source's images a transform, e.g. ``devices.Device.apply``.
    Raises SettingError where a sample is gone, or no longer what was scanned.
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
                raise SettingError(f"{path} no longer holds {gone} ({len(left)} gone); scan again")

    def read(given: tuple[Sample, Entry]) -> tuple[Sample, U8]:
        sample, entry = given
        name = f"{scan.origins[sample.source]}: {sample.member}"
        data = entry.data or b""
        if entry.error is None and sample.sha256:
            digest = hashlib.sha256(data).hexdigest()
            if digest != sample.sha256:
                raise SettingError(
                    f"{name} has SHA-256 {digest[:12]}…, not {sample.sha256[:12]}… as in the"
                    f" manifest; it was changed: scan and split again"
                )
        try:
            if entry.error:
                raise entry.error
            rgb = decode(data).rgb
        except InputError as error:
            raise SettingError(f"{name}: {error.message}; take it out of the data") from error
        transform = (change or {}).get(sample.source)
        return sample, transform(rgb) if transform else rgb

    return in_order(read, chosen(), threads)


def in_order(
    function: Callable[[T], R], items: Iterable[T], threads: int | None = None
) -> Iterator[R]:
    """``map`` by threads: results in the items' order, only a few items ahead of use."""
    count = threads or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(count, thread_name_prefix="read") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= count * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
