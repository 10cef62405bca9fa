"""The labelled crops that a head is fitted on, each in up to eight orientations."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.datasets.records import LeftOut, Sample, Scan
from pi10_classifier.errors import Code, ModelError, SettingError
from pi10_classifier.evaluation.metrics import I64
from pi10_classifier.evaluation.scoring import batches
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.model.package import MAX_CLASSES
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.features import F32, Trunk

MAX_ROWS = 4000  # most views that a head is fitted on; with many crops, fewer views per crop
VIEWS = 8


@dataclass(frozen=True, slots=True)
class Gallery:
    """Features of every crop's views: ``x`` (N, V, D) float32; the first view is the crop itself.

    ``particle`` (N,): near duplicates have the same number. ``measured`` (N, M) float32: what was
    measured of each crop, NaN where nothing was.
    """

    x: F32
    y: I64
    classes: tuple[str, ...]
    particle: I64
    measured: F32
    samples: tuple[Sample, ...] = ()

    def fit_rows(self, keep: Any) -> tuple[F32, I64]:
        """Features and classes of all views of the crops in ``keep``."""
        x = self.x[keep]
        return x.reshape(-1, x.shape[-1]), np.repeat(self.y[keep], x.shape[1])


def distinct(scan: Scan) -> tuple[list[Sample], tuple[LeftOut, ...]]:
    """Drop repeated files, which would count as additional labels."""
    kept: dict[str, Sample] = {}
    left_out = list(scan.left_out)
    for s in scan.samples:
        first = kept.setdefault(s.sha256, s)
        if first is not s:
            message = f"has the bytes of {first.source}: {first.member}, which counts"
            left_out.append(LeftOut(s.source, s.member, Code.DUPLICATE.value, message))
    return list(kept.values()), tuple(left_out)


def particles(samples: Sequence[Sample]) -> I64:
    """Particle numbers (N,) from 0 in order of appearance; near duplicates share one."""
    numbers: dict[str, int] = {}
    indices = [numbers.setdefault(s.cluster or s.sha256, len(numbers)) for s in samples]
    return np.array(indices, np.int64)


def check_gallery(gallery: Path, samples: Sequence[Sample], left_out: Sequence[LeftOut]) -> None:
    """Raise SettingError if there are too few crops, or too few or too many classes."""
    lost = Counter(x.code for x in left_out)
    why = "; left out: " + ", ".join(f"{n} {code}" for code, n in lost.items()) if lost else ""
    labels = sorted({s.group for s in samples})
    if not labels:
        raise SettingError(
            f"{gallery} has no crop to fit on: all are left out, or in the manifest's test part"
            f"{why}"
        )
    if len(labels) < 2:
        raise SettingError(
            f"{gallery} has the single class {labels[0]!r}; at least two are needed, e.g."
            f" 'other' for everything else{why}"
        )
    # a particle counts for the class that its first image has
    _, first = np.unique(particles(samples), return_index=True)
    each = Counter(samples[i].group for i in first)
    alone = [label for label in labels if each[label] < 2]
    if alone:
        raise SettingError(
            f"{gallery}: {', '.join(map(repr, alone))} has one image, near duplicates not"
            " counted; give at least two per class to evaluate the head, or five and more for"
            f" a reliable figure{why}"
        )
    if len(labels) > MAX_CLASSES:
        raise SettingError(
            f"{gallery} has {len(labels)} classes; at most {MAX_CLASSES} are"
            " accepted: merge some with a label map"
        )


def compute_features(
    model: Model, trunk: Trunk, scan: Scan, samples: Sequence[Sample], views: int = VIEWS
) -> Gallery:
    """Compute features of the samples' views: ``views`` each, fewer if there are many samples.

    All views of a crop have what was measured of the crop as it is.
    """
    views = int(np.clip(MAX_ROWS // max(len(samples), 1), 1, views))
    seen: list[Sample] = []
    measured: list[F32] = [np.empty((0, len(NAMES)), np.float32)]

    def turned() -> Iterator[U8]:
        for batch in batches(model, scan, samples, NAMES):
            seen.extend(batch.samples)
            if batch.measured is not None:
                measured.append(batch.measured)
            every = np.stack([view(batch.images, n) for n in range(views)], axis=1)
            yield every.reshape(-1, *batch.images.shape[1:])

    x = trunk.run(turned()).reshape(-1, views, trunk.size)
    if not np.isfinite(x).all():
        raise ModelError(
            f"{model.package.folder}: some features are not numbers, so no head"
            " can be fitted; export or train the model again"
        )
    classes = tuple(sorted({s.group for s in seen}))
    y = np.array([classes.index(s.group) for s in seen], np.int64)
    return Gallery(x, y, classes, particles(seen), np.concatenate(measured), tuple(seen))


def view(images: U8, number: int) -> U8:
    """Apply symmetry ``number`` of eight to square images (N, C, S, S); 0 is the identity."""
    turned = np.rot90(images, number % 4, axes=(2, 3))
    return np.ascontiguousarray(turned[:, :, :, ::-1] if number >= 4 else turned)


def digest(samples: Sequence[Sample]) -> str:
    lines = sorted(f"{s.sha256} {s.group}\n" for s in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
