"""Labelled images of folder trees and tars: the least that judging and adapting need.

Stands in for ``training/data.py``, ``labels.py`` and ``split.read_manifest`` behind their
interface until these are joined; then this file goes.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.decode import decode
from pi10_classifier.errors import InputError, SettingError
from pi10_classifier.instrument import Particle

U8 = NDArray[np.uint8]
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: ``label`` is the source's own, ``group`` the class."""

    source: str
    member: str
    label: str
    group: str
    bin: str = ""
    split: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One file that is not used, and why."""

    source: str
    member: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What the inputs hold. ``origins``: source -> its folder or tar."""

    samples: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...]
    classes: tuple[str, ...]
    origins: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Patterns of source labels -> class; the first that fits counts; "-" leaves out."""

    rules: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, path: Path) -> LabelMap:
        """From CSV with the columns label and class."""
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
            return cls(tuple((row["label"], row["class"]) for row in rows))
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise SettingError(
                f"label map {path} cannot be used ({error}); give CSV with the columns label,class"
            ) from error

    def group(self, label: str) -> str | None:
        """The class of a label; "-" where it is left out, None where no pattern fits."""
        return next((c for rule, c in self.rules if fnmatch.fnmatchcase(label, rule)), None)


def scan(inputs: Sequence[Path], label_map: LabelMap | None = None) -> Scan:
    """List the labelled images of folders and tars, each decoded once to see that it can be."""
    origins: dict[str, Path] = {}
    samples: list[Sample] = []
    left_out: list[LeftOut] = []
    for path in inputs:
        if not path.exists():
            raise SettingError(f"data {path} does not exist; give a folder or a tar")
        source = path.stem if path.is_file() else path.resolve().name
        if source in origins:
            raise SettingError(f"two inputs are named {source!r}; rename one")
        origins[source] = path
        for member, data in _members(path):
            found = _judge(source, member, data, label_map)
            (samples if isinstance(found, Sample) else left_out).append(found)  # type: ignore[arg-type]
    samples.sort(key=lambda s: (s.source, s.member))
    classes = tuple(sorted({sample.group for sample in samples}))
    return Scan(tuple(samples), tuple(left_out), classes, origins)


def _judge(source: str, member: str, data: bytes, label_map: LabelMap | None) -> Sample | LeftOut:
    label = PurePosixPath(member).parent.as_posix()
    if label == ".":
        message = "lies in no class folder; put it in one named after its class"
        return LeftOut(source, member, "no_label", message)
    group = label_map.group(label) if label_map else label.split("/")[0]
    if group is None:
        return LeftOut(source, member, "unknown_label", f"label {label!r} is not in the label map")
    if group == "-":
        return LeftOut(source, member, "label_left_out", f"the label map leaves {label!r} out")
    try:
        decode(data)
    except InputError as error:
        return LeftOut(source, member, error.code.value, error.message)
    particle = Particle.parse(PurePosixPath(member).name)
    bin_id = str(particle.bin) if particle else ""
    return Sample(source, member, label, group, bin_id, sha256=hashlib.sha256(data).hexdigest())


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The image files of a folder or tar, by name."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in _SUFFIXES and file.is_file():
                yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(path) as tar:
            for info in tar:
                handle = tar.extractfile(info) if info.isfile() else None
                if handle and PurePosixPath(info.name).suffix.lower() in _SUFFIXES:
                    yield info.name, handle.read()
    except (tarfile.TarError, EOFError) as error:
        raise SettingError(f"{path} is no readable tar ({error}); give a folder or tar") from error


def read_rgb(scan: Scan, samples: Iterable[Sample]) -> Iterator[tuple[Sample, U8]]:
    """Decode the samples to RGB (H, W, 3) uint8, in the sources' own order."""
    wanted = {(s.source, s.member): s for s in samples}
    for source, path in scan.origins.items():
        for member, data in _members(path):
            sample = wanted.get((source, member))
            if sample is not None:
                yield sample, decode(data).rgb


def read_manifest(text: str) -> list[Sample]:
    """Samples with their splits from the CSV of a training's split."""
    try:
        return [
            Sample(
                row["source"],
                row["member"],
                row["label"],
                row["group"],
                row.get("bin") or "",
                row["split"],
                row.get("sha256") or "",
            )
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (KeyError, csv.Error) as error:
        raise SettingError(
            f"the manifest lacks {error}; give the split.csv of a training"
        ) from error


def parts(scan: Scan, manifest: Path) -> dict[str, list[Sample]]:
    """The scanned samples by the split that ``manifest`` gives them; others are left out.

    Raises SettingError where a file is no longer the one the manifest speaks of.
    """
    try:
        said = {(s.source, s.member): s for s in read_manifest(manifest.read_text("utf-8"))}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"manifest {manifest} cannot be read: {error}") from error
    found: dict[str, list[Sample]] = {}
    for sample in scan.samples:
        entry = said.get((sample.source, sample.member))
        if entry is None:
            continue
        if entry.sha256 and sample.sha256 and entry.sha256 != sample.sha256:
            raise SettingError(
                f"{sample.source}: {sample.member} is another file than {manifest} was made of;"
                " its split may no longer hold"
            )
        found.setdefault(entry.split, []).append(replace(sample, split=entry.split))
    return found
