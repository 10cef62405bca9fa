"""Scores labelled images drawn in another look, the same drawings for all models compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.errors import ModelError
from pi10_classifier.evaluation.metrics import F64
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.preprocess import U8, Preprocessing
from pi10_classifier.inference.settings import BATCH, default_jobs
from pi10_classifier.model.session import Model


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
        return [_answers(models, crops, look, draws) for look in looks]

    for answers in ordered_map(ask, _chunks(scan, samples), jobs or default_jobs(), 2):
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


def _chunks(scan: Scan, samples: Sequence[Sample]) -> Iterator[list[tuple[Sample, U8]]]:
    held: list[tuple[Sample, U8]] = []
    for pair in read_rgb(scan, samples):
        held.append(pair)
        if len(held) == BATCH:
            yield held
            held = []
    if held:
        yield held


def _answers(
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
