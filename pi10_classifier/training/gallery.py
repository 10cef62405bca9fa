"""The labelled crops that a head is fitted on: each once, seen from eight sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.model import MAX_CLASSES, Model
from pi10_classifier.preprocess import U8
from pi10_classifier.training.evaluate import prepared
from pi10_classifier.training.features import F32, Trunk
from pi10_classifier.training.labelled import LeftOut, Sample, Scan
from pi10_classifier.training.metrics import I64

MAX_ROWS = 4000  # views that a head is fitted on: fewer of each crop where there are many
VIEWS = 8


@dataclass(frozen=True, slots=True)
class Gallery:
    """Features of every crop's views: ``x`` (N, V, D) float32, first the crop as it is."""

    x: F32
    y: I64
    classes: tuple[str, ...]

    def fit_rows(self, keep: Any) -> tuple[F32, I64]:
        """Features and classes of all views of the crops in ``keep``."""
        x = self.x[keep]
        return x.reshape(-1, x.shape[-1]), np.repeat(self.y[keep], x.shape[1])


def distinct(found: Scan) -> tuple[list[Sample], tuple[LeftOut, ...]]:
    """Each file once; one that lies in two classes is left out of both."""
    by_content: dict[str, list[Sample]] = defaultdict(list)
    for sample in found.samples:
        by_content[sample.sha256].append(sample)
    kept, left_out = [], list(found.left_out)
    for same in by_content.values():
        groups = sorted({s.group for s in same})
        if len(groups) > 1:
            message = f"the same image lies in {' and '.join(groups)}; keep one"
            left_out += [LeftOut(s.source, s.member, "two_labels", message) for s in same]
            continue
        kept.append(same[0])
        message = f"the same image as {same[0].member}"
        left_out += [LeftOut(s.source, s.member, "duplicate", message) for s in same[1:]]
    return kept, tuple(left_out)


def check(gallery: Path, labels: Mapping[str, int], left_out: Sequence[LeftOut]) -> None:
    lost = Counter(x.code for x in left_out)
    why = "; left out: " + ", ".join(f"{n} {code}" for code, n in lost.items()) if lost else ""
    if not labels:
        raise SettingError(
            f"{gallery} holds no labelled image{why}. The layout is a folder a class:"
            f" {gallery.name}/copepod/a.png, {gallery.name}/krill/b.png"
        )
    if len(labels) < 2:
        raise SettingError(
            f"{gallery} has the single class {next(iter(labels))!r}; at least two are needed, for"
            f" instance 'other' for all else{why}"
        )
    alone = [label for label, n in labels.items() if n < 2]
    if alone:
        raise SettingError(
            f"{gallery}: {', '.join(map(repr, alone))} has one image; at least two a class are"
            f" needed to judge the head, five or more to trust it{why}"
        )
    if len(labels) > MAX_CLASSES:
        raise SettingError(f"{gallery} has {len(labels)} classes; at most {MAX_CLASSES} are taken")


def look(model: Model, trunk: Trunk, found: Scan, samples: Sequence[Sample]) -> Gallery:
    """Features of the samples' views: eight of each, fewer where they are many."""
    views = int(np.clip(MAX_ROWS // max(len(samples), 1), 1, VIEWS))
    seen: list[Sample] = []

    def batches() -> Iterator[U8]:
        for names, images in prepared(model, found, samples):
            seen.extend(names)
            turned = np.stack([view(images, n) for n in range(views)], axis=1)
            yield turned.reshape(-1, *images.shape[1:])

    x = trunk.run(batches()).reshape(-1, views, trunk.size)
    if not np.isfinite(x).all():
        raise ModelError(f"{model.package.folder}: some features are not numbers")
    classes = tuple(sorted({s.group for s in seen}))
    y = np.array([classes.index(s.group) for s in seen], np.int64)
    return Gallery(x, y, classes)


def view(images: U8, number: int) -> U8:
    """The ``number``-th of the eight symmetries of square images (N, C, S, S); 0 is none."""
    turned = np.rot90(images, number % 4, axes=(2, 3))
    return np.ascontiguousarray(turned[:, :, :, ::-1] if number >= 4 else turned)


def digest(samples: Sequence[Sample]) -> str:
    lines = sorted(f"{s.sha256} {s.group}\n" for s in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
