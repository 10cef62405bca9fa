"""Labelled images as serving would see them: read, prepared, and scored by a package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.errors import ModelError
from pi10_classifier.evaluation.metrics import F64, I64
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.preprocess import U8, prepare
from pi10_classifier.inference.settings import BATCH, default_jobs
from pi10_classifier.model.session import Model


@dataclass(frozen=True, slots=True)
class Scored:
    """Samples in the order read, and their class probabilities float64 (N, K)."""

    samples: tuple[Sample, ...]
    probabilities: F64

    def of(self, keep: Callable[[Sample], bool]) -> Scored:
        """The samples that ``keep`` wants."""
        mask = np.array([keep(sample) for sample in self.samples], bool)
        chosen = tuple(s for s, wanted in zip(self.samples, mask, strict=True) if wanted)
        return Scored(chosen, self.probabilities[mask])

    def truth(self, classes: Sequence[str]) -> I64:
        """Class indices (N,); every sample must be of one of ``classes``."""
        place = {label: i for i, label in enumerate(classes)}
        return np.array([place[sample.group] for sample in self.samples], np.int64)

    def truth_or(self, place: Mapping[str, int], otherwise: int) -> I64:
        """Class indices (N,), ``otherwise`` where a sample's class is not in ``place``."""
        return np.array([place.get(s.group, otherwise) for s in self.samples], np.int64)


def prepared(
    model: Model, found: Scan, samples: Sequence[Sample], batch: int = BATCH
) -> Iterator[tuple[list[Sample], U8]]:
    """The samples in batches (n, C, S, S) uint8, as serving prepares and cuts them."""
    spec = model.package.preprocessing
    held: list[tuple[Sample, U8]] = []
    for sample, rgb in read_rgb(found, samples):
        held.append((sample, prepare(rgb, spec)))
        if len(held) == batch:
            yield [s for s, _ in held], np.stack([image for _, image in held])
            held = []
    if held:
        yield [s for s, _ in held], np.stack([image for _, image in held])


def score(model: Model, found: Scan, samples: Sequence[Sample], jobs: int = 0) -> Scored:
    """Ask the model for every sample; batches run on ``jobs`` threads (0: all cores).

    Raises ModelError where the graph gives what is no number.
    """
    seen: list[Sample] = []
    parts: list[NDArray[np.float32]] = []

    def ask(batch: tuple[list[Sample], U8]) -> tuple[list[Sample], NDArray[np.float32]]:
        return batch[0], model.scores(batch[1])

    for names, scores in ordered_map(
        ask, prepared(model, found, samples), jobs or default_jobs(), 2
    ):
        seen += names
        parts.append(scores)
    empty = np.empty((0, len(model.package.classes)))
    probabilities = np.concatenate([empty, *parts])
    if not np.isfinite(probabilities).all():
        raise ModelError(f"{model.package.folder}: some scores are not numbers; it is not judged")
    return Scored(tuple(seen), probabilities)
