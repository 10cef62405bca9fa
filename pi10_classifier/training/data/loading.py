"""Loads the labelled images of a training into memory: split and shrunk.

Only this module of the training knows how labelled data are read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets import split as splitting
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.scan import Sample, Scan, read_rgb, reopen, scan
from pi10_classifier.datasets.taxa.taxon_map import read_label_map
from pi10_classifier.errors import SettingError
from pi10_classifier.imaging import preprocess
from pi10_classifier.imaging.measured_vector import measured_vector
from pi10_classifier.imaging.measurement import measure
from pi10_classifier.imaging.preprocess import Grey, Preprocessing, prepare, trim
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.training.data.camera_look import Device
from pi10_classifier.training.data.in_memory import CACHE_SIDE, HeldOut, TrainingSet, level
from pi10_classifier.training.recipe import Recipe

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

_GIB = 2**30
_SPARE = 0.05  # margin that is kept in addition to a recipe's trim, until ``prepare`` crops it
_SHARE = 0.7  # share of the free memory that images may use


@dataclass(frozen=True, slots=True)
class Examples:
    """A scan whose samples are split; images are read by ``load`` and ``batches``.

    cameras: source -> conversion of its images, in every split, to another camera's look.
    label_map: the one that gave, or agrees with, the classes; None without one.
    """

    scan: Scan
    samples: tuple[Sample, ...]
    manifest: str
    cameras: Mapping[str, Device] = field(default_factory=dict)
    label_map: LabelMap | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scan.classes

    @property
    def sha256(self) -> str:
        """SHA-256 of the manifest."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    @property
    def changes(self) -> dict[str, Callable[[U8], U8]]:
        """The conversions of the cameras, for ``read_rgb``."""
        return {source: device.apply for source, device in self.cameras.items()}

    def of(self, part: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.split == part]


def read_examples(
    inputs: Sequence[Path],
    label_map: Path | None = None,
    manifest: Path | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    cameras: Mapping[str, Device] | None = None,
) -> Examples:
    """Scan and split the inputs, or take the split of a manifest without reading images.

    Raises SettingError if data or manifest are unusable, or if a label map gives other classes than
    the manifest.
    """
    labels = read_label_map(label_map) if label_map else None
    if manifest is not None:
        try:
            samples = splitting.read_manifest(manifest.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"manifest {manifest} cannot be read: {error}") from error
        if labels is not None:
            _agree(samples, labels, manifest, label_map)
        scanned = reopen(samples, inputs)
    else:
        scanned = scan(inputs, labels, progress=progress)
        samples = splitting.split(scanned.samples, seed=seed)
    if len(scanned.classes) < 2:
        raise SettingError(
            f"the data have only the class {', '.join(scanned.classes)}; a classifier needs two"
            " or more"
        )
    for source in cameras or {}:
        if source not in scanned.origins:
            raise SettingError(
                f"--camera names the source {source!r}, but the data's sources are"
                f" {', '.join(scanned.origins)}; name one of these"
            )
    return Examples(
        scanned, tuple(samples), splitting.manifest(samples), dict(cameras or {}), labels
    )


def _agree(
    samples: Sequence[Sample], labels: LabelMap, manifest: Path, label_map: Path | None
) -> None:
    for sample in samples:
        group = labels.group(sample.label)
        if group != sample.group:
            raise SettingError(
                f"label map {label_map} gives {sample.label!r} the class {group or 'none'},"
                f" but manifest {manifest} gives it {sample.group}; give only one of the two"
            )


def load(
    examples: Examples,
    recipe: Recipe,
    side: int = 0,
    free: int | None = None,
    group_of: Callable[[Sample], int] | None = None,
) -> tuple[TrainingSet, HeldOut]:
    """Decode the training and validation images into memory.

    side: the largest input size that network or teacher need, px. free: bytes of free memory.
    group_of: the index of a sample's group, -1 if not known; None for no groups.
    Training images are shrunk to the needed size, never enlarged; for augmentation "pi10" they are
    levelled and grey. Raises SettingError if the images do not fit into memory.
    """
    spec, side = recipe.spec, max(side, recipe.size)
    place = {name: i for i, name in enumerate(examples.classes)}
    needed = _bytes(examples, spec, recipe, side)
    if free is not None and needed > _SHARE * free:
        raise SettingError(
            f"the images need about {needed / _GIB:.1f} GiB, but {free / _GIB:.1f} GiB are"
            " free; give a smaller --size, --set channels=1, or fewer images"
        )
    fit: list[U8] = []
    held: list[U8] = []
    truth: dict[str, list[int]] = {"train": [], "validation": []}
    sources: list[int] = []
    own: list[tuple[str, str]] = []
    groups: list[int] = []
    numbers: dict[str, list[F32]] = {"train": [], "validation": []}
    origin = {name: i for i, name in enumerate(examples.scan.origins)}
    wanted = [s for s in examples.samples if s.split in truth]
    for sample, rgb in read_rgb(examples.scan, wanted, change=examples.changes):
        if sample.split == "train":
            fit.append(cached_image(rgb, recipe, side))
            sources.append(origin[sample.source])
            own.append((sample.source, sample.label))
            if group_of:
                groups.append(group_of(sample))
        else:
            held.append(prepare(rgb, spec))
        truth[sample.split].append(place[sample.group])
        numbers[sample.split].append(measured_of(rgb, recipe.numbers))
    known = np.asarray(truth["train"], np.int64)
    judged = np.asarray(truth["validation"], np.int64)
    strata = np.asarray(sources, np.int64) * len(place) + known
    empty = np.zeros((0, spec.channels, spec.size, spec.size), np.uint8)
    return (
        TrainingSet(
            fit, known, strata, _places(own), np.asarray(groups, np.int64),
            measured=_stacked(numbers["train"], recipe.numbers),
        ),
        HeldOut(
            np.stack(held) if held else empty, judged,
            _stacked(numbers["validation"], recipe.numbers),
        ),
    )  # fmt: skip


def measured_of(rgb: U8, names: tuple[str, ...]) -> F32:
    """The numbers (M,) of an image RGB (H, W, 3) uint8, as serving measures it."""
    return measured_vector(measure(rgb, UM_PER_PX) if names else None, UM_PER_PX, names)


def _stacked(rows: Sequence[F32], names: tuple[str, ...]) -> F32:
    return np.stack(rows) if rows else np.zeros((0, len(names)), np.float32)


def _places(labels: Sequence[tuple[str, str]]) -> I64:
    """Each source's own labels, numbered in their order."""
    place = {label: i for i, label in enumerate(sorted(set(labels)))}
    return np.asarray([place[label] for label in labels], np.int64)


class Batch(NamedTuple):
    """Some samples, their prepared images (n, C, S, S) uint8, and their numbers (n, M)."""

    samples: list[Sample]
    images: U8
    measured: F32


def batches(
    examples: Examples,
    part: str,
    spec: Preprocessing,
    size: int = 64,
    names: tuple[str, ...] = (),
) -> Iterator[Batch]:
    """Yield a split batch by batch. names: what to measure; by default nothing (M = 0)."""
    held: list[tuple[Sample, U8, F32]] = []

    def whole() -> Batch:
        samples, images, numbers = zip(*held, strict=True)
        return Batch(list(samples), np.stack(images), np.stack(numbers))

    for sample, rgb in read_rgb(examples.scan, examples.of(part), change=examples.changes):
        held.append((sample, prepare(rgb, spec), measured_of(rgb, names)))
        if len(held) == size:
            yield whole()
            held = []
    if held:
        yield whole()


def cached_image(rgb: U8, recipe: Recipe, side: int) -> U8:
    """What is held of RGB (H, W, 3) uint8 for a training at ``side`` px: shrunk, perhaps grey."""
    if recipe.augmentation == "pi10":
        return level(rgb, max(CACHE_SIDE, side))
    if recipe.trim:
        # before shrinking, as in serving; ``prepare`` will crop the rest
        ground = Grey.of(rgb).background
        rgb = trim(preprocess.level(rgb, ground), recipe.trim + _SPARE)
        side = math.ceil(side * (1 + 2 * _SPARE))
    scale = side / max(rgb.shape[:2])
    if scale < 1:
        height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if recipe.channels == 1:
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.ascontiguousarray(rgb)


def _bytes(examples: Examples, spec: Preprocessing, recipe: Recipe, side: int) -> int:
    """The bytes that ``load`` will need, from the image sizes in the scan."""
    grown = recipe.augmentation == "pi10"
    total = len(examples.of("validation")) * spec.channels * spec.size**2
    for sample in examples.of("train"):
        longest = max(sample.width, sample.height, 1)
        limit = max(CACHE_SIDE, side) if grown else side
        scale = limit / longest if grown else min(1.0, limit / longest)
        total += round(sample.width * sample.height * scale**2) * (1 if grown else spec.channels)
    return total
