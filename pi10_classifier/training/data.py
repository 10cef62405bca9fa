"""Labelled images for training: tars of ``group/label/name.ext``, split by name.

The split is a function of the member names and a seed alone: the same tars give
the same manifest on any machine, and images added later move no others' stratum
but their own.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.decode import decode
from pi10_classifier.errors import InputError, SettingError
from pi10_classifier.preprocess import Preprocessing, prepare

U8 = NDArray[np.uint8]

CLASSES = ("copepod", "detritus", "noncopepod")
OTHER = "other"
SPLITS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)
CACHE_SIDE = 128
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Source:
    """One labelled tar: its name, file, title as cited and licence."""

    name: str
    file: str
    title: str
    licence: str


SOURCES = (
    Source(
        "planktonset1",
        "planktonset1.tar",
        "PlanktonSet 1.0 (ISIIS), Cowen et al. 2015, NOAA NCEI accession 0127422",
        "U.S. Government work",
    ),
    Source(
        "pwssc",
        "pwssc.tar",
        "Prince William Sound Science Center plankton camera, Campbell et al. 2020",
        "MIT",
    ),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: ``group`` is the class, ``label`` the source's own one."""

    source: str
    member: str
    group: str
    label: str
    split: str = ""


def scan(data: Path, sources: Sequence[Source] = SOURCES) -> list[Sample]:
    """List the images of the tars in folder ``data``, in name order.

    Raises SettingError where a tar is missing or damaged, or a class is empty.
    """
    samples: list[Sample] = []
    for source in sources:
        path = data / source.file
        if not path.is_file():
            raise SettingError(f"training data {path} is missing; point --data at its folder")
        try:
            with tarfile.open(path) as tar:
                names = [info.name for info in tar if info.isfile()]
        except (tarfile.TarError, EOFError) as error:
            raise SettingError(f"{path} is not a readable tar ({error}); fetch it again") from error
        found = [sample for name in names if (sample := _sample(source.name, name))]
        counts = Counter(sample.group for sample in found)
        for group in CLASSES:
            if not counts[group]:
                raise SettingError(
                    f"{path} has no image of class {group!r} (found {dict(counts)});"
                    f" its members must be named group/label/name.ext"
                )
        samples += found
    return sorted(samples, key=lambda s: (s.source, s.member))


def _sample(source: str, name: str) -> Sample | None:
    """Read a member's name; None where it is no image of a known group."""
    parts = PurePosixPath(name).parts
    if len(parts) != 3 or PurePosixPath(name).suffix.lower() not in _SUFFIXES:
        return None
    group, label, _ = parts
    return Sample(source, name, group, label) if group in (*CLASSES, OTHER) else None


def split(samples: Iterable[Sample], seed: int = 0) -> list[Sample]:
    """Assign 70/10/20 train, validation, test within each source x source label.

    The order within a stratum is that of SHA-256(seed, member name). Samples of
    group "other" are spread likewise, though none of them is trained on.
    Raises SettingError where a class is left empty in a split of a source.
    """
    strata: dict[tuple[str, str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        strata[sample.source, sample.group, sample.label].append(sample)
    done: list[Sample] = []
    for members in strata.values():
        members.sort(key=lambda s: hashlib.sha256(f"{seed}/{s.member}".encode()).digest())
        n = len(members)
        test = round(n * FRACTIONS[2])
        held = test + round(n * FRACTIONS[1])
        for place, sample in enumerate(members):
            part = "test" if place < test else "validation" if place < held else "train"
            done.append(replace(sample, split=part))
    counts = Counter((s.source, s.group, s.split) for s in done)
    for source in sorted({s.source for s in done}):
        for group in CLASSES:
            for part in SPLITS:
                if not counts[source, group, part]:
                    raise SettingError(
                        f"{source}: split {part!r} has no image of class {group!r};"
                        f" about ten images a class and source are the least"
                    )
    return sorted(done, key=lambda s: (s.source, s.member))


def manifest(samples: Iterable[Sample]) -> str:
    """The split as CSV text: source, member, group, label, split."""
    rows = [f"{s.source},{s.member},{s.group},{s.label},{s.split}\n" for s in samples]
    return "source,member,group,label,split\n" + "".join(rows)


def counts(samples: Iterable[Sample], source: str) -> dict[str, dict[str, int]]:
    """Images of one source per split and class, "other" left out."""
    table = {part: dict.fromkeys(CLASSES, 0) for part in SPLITS}
    for s in samples:
        if s.source == source and s.group != OTHER:
            table[s.split][s.group] += 1
    return table


def read_rgb(
    data: Path, samples: Iterable[Sample], sources: Sequence[Source] = SOURCES
) -> Iterator[tuple[Sample, U8]]:
    """Decode the samples to RGB (H, W, 3) uint8, in the tars' own order.

    Raises SettingError with the member's name where an image cannot be decoded.
    """
    wanted = {(s.source, s.member): s for s in samples}
    for source in sources:
        with tarfile.open(data / source.file) as tar:
            for info in tar:
                sample = wanted.get((source.name, info.name))
                handle = tar.extractfile(info) if sample else None
                if sample is None or handle is None:
                    continue
                try:
                    yield sample, decode(handle.read()).rgb
                except InputError as error:
                    raise SettingError(
                        f"{source.file}: {info.name}: {error.message}; take it out of the tar"
                    ) from error


def level(rgb: U8, side: int = CACHE_SIDE) -> U8:
    """RGB (H, W, 3) -> grey (h, w) uint8, dark on 255, longest side ``side`` px.

    The levelling is ``prepare``'s own; only its square margin is taken off again.
    """
    scale = side / max(rgb.shape[:2])
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(rgb, (width, height), interpolation=method), np.uint8)
    square = prepare(small, Preprocessing(size=side))[0]
    top, left = (side - height) // 2, (side - width) // 2
    return np.ascontiguousarray(square[top : top + height, left : left + width])
