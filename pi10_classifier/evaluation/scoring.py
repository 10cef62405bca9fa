"""Scores labelled images with a package, with the preprocessing of serving."""

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
from pi10_classifier.model.session import Answer, Model


@dataclass(frozen=True, slots=True)
class Scored:
    """Samples in the order in which they were read, with class probabilities float64 (N, K).

    novelty: float64 (N,); None where the package cannot tell. groups: the most probable group of
    each within its class, (N,); empty where the package predicts classes alone.
    """

    samples: tuple[Sample, ...]
    probabilities: F64
    novelty: F64 | None = None
    groups: tuple[str, ...] = ()

    def of(self, keep: Callable[[Sample], bool]) -> Scored:
        """The part of the samples for which ``keep`` is true."""
        mask = np.array([keep(sample) for sample in self.samples], bool)
        chosen = tuple(s for s, wanted in zip(self.samples, mask, strict=True) if wanted)
        novelty = None if self.novelty is None else self.novelty[mask]
        groups = tuple(x for x, wanted in zip(self.groups, mask, strict=False) if wanted)
        return Scored(chosen, self.probabilities[mask], novelty, groups)

    def truth(self, classes: Sequence[str]) -> I64:
        """Class indices (N,); every sample must belong to one of ``classes``."""
        place = {label: i for i, label in enumerate(classes)}
        return np.array([place[sample.group] for sample in self.samples], np.int64)

    def truth_or(self, place: Mapping[str, int], otherwise: int) -> I64:
        """Class indices (N,), or ``otherwise`` for a sample whose class is not in ``place``."""
        return np.array([place.get(s.group, otherwise) for s in self.samples], np.int64)


def prepared(
    model: Model, scan: Scan, samples: Sequence[Sample], batch: int = BATCH
) -> Iterator[tuple[list[Sample], U8]]:
    """Yield the samples in batches (n, C, S, S) uint8, with the preprocessing of serving."""
    spec = model.package.preprocessing
    held: list[tuple[Sample, U8]] = []
    for sample, rgb in read_rgb(scan, samples):
        held.append((sample, prepare(rgb, spec)))
        if len(held) == batch:
            yield [s for s, _ in held], np.stack([image for _, image in held])
            held = []
    if held:
        yield [s for s, _ in held], np.stack([image for _, image in held])


def score(model: Model, scan: Scan, samples: Sequence[Sample], jobs: int = 0) -> Scored:
    """Score all samples; batches run on ``jobs`` threads (0: one per core).

    Raises ModelError if a score is not a number.
    """
    seen: list[Sample] = []
    parts: list[NDArray[np.float32]] = []
    told: list[NDArray[np.float32]] = []
    groups: list[str] = []

    def ask(batch: tuple[list[Sample], U8]) -> tuple[list[Sample], Answer]:
        return batch[0], model.answer(batch[1])

    for names, answer in ordered_map(
        ask, prepared(model, scan, samples), jobs or default_jobs(), 2
    ):
        seen += names
        parts.append(answer.scores)
        if answer.novelty is not None:
            told.append(answer.novelty)
        if answer.groups is not None:
            groups += model.finer_labels(answer)
    empty = np.empty((0, len(model.package.classes)))
    probabilities = np.concatenate([empty, *parts])
    novelty = np.concatenate([np.empty(0), *told]) if model.package.novelty else None
    numbers = [probabilities] if novelty is None else [probabilities, novelty]
    if not all(np.isfinite(part).all() for part in numbers):
        raise ModelError(
            f"{model.package.folder}: some scores are not numbers, so it cannot"
            " be evaluated; export or train the model again"
        )
    return Scored(tuple(seen), probabilities, novelty, tuple(groups))
