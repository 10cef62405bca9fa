"""Scores labelled images with a package, prepared as in serving or drawn in another look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.errors import ModelError
from pi10_classifier.evaluation.metrics import F64, I64
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.measured_vector import F32, measured_vector
from pi10_classifier.imaging.measurement import measure
from pi10_classifier.imaging.preprocess import U8, Preprocessing, prepare
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.model.runtime import BATCH
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


class Batch(NamedTuple):
    """Some samples with all that a model takes.

    images: (n, C, S, S) uint8. measured: (n, M) float32; None where it is not wanted.
    """

    samples: list[Sample]
    images: U8
    measured: F32 | None


def batches(
    model: Model, scan: Scan, samples: Sequence[Sample], names: tuple[str, ...] = ()
) -> Iterator[Batch]:
    """Yield the samples prepared and measured as in serving.

    names: the numbers to measure; by default those that the package takes.
    """
    package = model.package
    names = names or (package.measured.names if package.measured else ())
    held: list[tuple[Sample, U8, F32]] = []

    def whole() -> Batch:
        kept, images, numbers = zip(*held, strict=True)
        return Batch(list(kept), np.stack(images), np.stack(numbers) if names else None)

    for sample, rgb in read_rgb(scan, samples):
        size = measure(rgb, UM_PER_PX) if names else None
        numbers = measured_vector(size, UM_PER_PX, names)
        held.append((sample, prepare(rgb, package.preprocessing), numbers))
        if len(held) == BATCH:
            yield whole()
            held = []
    if held:
        yield whole()


def prepared(
    model: Model, scan: Scan, samples: Sequence[Sample]
) -> Iterator[tuple[list[Sample], U8]]:
    """Yield the samples in batches (n, C, S, S) uint8, with the preprocessing of serving."""
    for batch in batches(model, scan, samples):
        yield batch.samples, batch.images


def score(model: Model, scan: Scan, samples: Sequence[Sample], jobs: int = 0) -> Scored:
    """Score all samples; batches run on ``jobs`` threads (0: one per core).

    Raises ModelError if a score is not a number.
    """
    seen: list[Sample] = []
    parts: list[NDArray[np.float32]] = []
    told: list[NDArray[np.float32]] = []
    groups: list[str] = []

    def ask(batch: Batch) -> tuple[list[Sample], Answer]:
        return batch.samples, model.answer(batch.images, batch.measured)

    for names, answer in ordered_map(ask, batches(model, scan, samples), jobs or default_jobs(), 2):
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


@dataclass(frozen=True, slots=True)
class Look:
    """A way to draw an image: RGB (H, W, 3) uint8 and a generator -> prepared (C, S, S) uint8."""

    name: str
    draw: Callable[[U8, np.random.Generator, Preprocessing], U8]


def score_looks(
    models: Sequence[Model],
    scan: Scan,
    samples: Sequence[Sample],
    looks: Sequence[Look],
    draws: int,
    jobs: int = 0,
) -> dict[str, list[F64]]:
    """Class probabilities (N, draws, K) of each model, by the name of the look.

    A drawing depends on the image's content and the number of the draw alone, so models that
    prepare images alike get the same pixels. Raises ModelError if a score is not a number.
    """
    parts: dict[str, list[list[F64]]] = {look.name: [[] for _ in models] for look in looks}

    def ask(crops: list[tuple[Sample, U8]]) -> list[list[F64]]:
        return [_answers_of(models, crops, look, draws) for look in looks]

    for answers in ordered_map(ask, _in_chunks(scan, samples), jobs or default_jobs(), 2):
        for look, of_look in zip(looks, answers, strict=True):
            for kept, scores in zip(parts[look.name], of_look, strict=True):
                kept.append(scores)
    joined = {name: [np.concatenate(part) for part in told] for name, told in parts.items()}
    for told in joined.values():
        for model, scores in zip(models, told, strict=True):
            if not np.isfinite(scores).all():
                raise ModelError(
                    f"{model.package.folder}: some scores are not numbers, so it cannot be judged;"
                    " export or train the model again"
                )
    return joined


def _in_chunks(scan: Scan, samples: Sequence[Sample]) -> Iterator[list[tuple[Sample, U8]]]:
    held: list[tuple[Sample, U8]] = []
    for pair in read_rgb(scan, samples):
        held.append(pair)
        if len(held) == BATCH:
            yield held
            held = []
    if held:
        yield held


def _answers_of(
    models: Sequence[Model], crops: Sequence[tuple[Sample, U8]], look: Look, draws: int
) -> list[F64]:
    drawn: dict[Preprocessing, list[U8]] = {}
    answers = []
    for model in models:
        spec = model.package.preprocessing
        if spec not in drawn:
            drawn[spec] = [
                np.stack([drawn_image(look, draw, sample, rgb, spec) for sample, rgb in crops])
                for draw in range(draws)
            ]
        scores = [model.scores(images) for images in drawn[spec]]
        answers.append(np.stack(scores, axis=1).astype(np.float64))
    return answers


def drawn_image(look: Look, draw: int, sample: Sample, rgb: U8, spec: Preprocessing) -> U8:
    """One drawing (C, S, S) uint8 of an image; its random numbers come from the image's hash."""
    rng = np.random.default_rng((draw, int(sample.sha256[:15] or "0", 16)))
    return look.draw(rgb, rng, spec)
