"""Reads and writes ``test_predictions.csv``: a network's predictions for the test images.

Columns: ``network, loss, seed`` (the same in every row, so that the file itself says which run
it belongs to), ``source, member`` (which image), ``truth, guess`` (class names) and one
``score_CLASS`` (a probability) per class, in the classes' order. UTF-8, with a header line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import F64, I64
from pi10_classifier.foundation.files import write_atomically

PREDICTIONS = "test_predictions.csv"
_BEFORE = ("network", "loss", "seed", "source", "member", "truth", "guess")
_SCORE = "score_"


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One run's predictions of N images over K classes.

    images: N pairs (source, member), each once. truth, guess: (N,) int64, indices into
    classes. scores: (N, K) float64, probabilities.
    """

    network: str
    loss: str
    seed: int
    classes: tuple[str, ...]
    images: tuple[tuple[str, str], ...]
    truth: I64
    guess: I64
    scores: F64

    @property
    def row(self) -> str:
        """The row of the comparison that this run belongs to."""
        return f"{self.network} {self.loss}"


def write_predictions(folder: Path, predictions: Predictions) -> Path:
    """Write ``test_predictions.csv`` to ``folder``; return its path. Raises OutputError."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    p = predictions
    rows.writerow([*_BEFORE, *(f"{_SCORE}{name}" for name in p.classes)])
    for image, truth, guess, scores in zip(p.images, p.truth, p.guess, p.scores, strict=True):
        names = (p.classes[truth], p.classes[guess])
        figures = (f"{score:.7g}" for score in scores)
        rows.writerow([p.network, p.loss, p.seed, *image, *names, *figures])
    path = folder / PREDICTIONS
    write_atomically(path, stream.getvalue().encode("utf-8"))
    return path


def read_predictions(path: Path) -> Predictions:
    """Read ``path``, a file or its folder. Raises SettingError that names the line."""
    if path.is_dir():
        path = path / PREDICTIONS
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path} cannot be read: {error}; name the folder of a tested training"
        ) from error
    rows = csv.reader(io.StringIO(text))
    header = next(rows, [])
    classes = tuple(name.removeprefix(_SCORE) for name in header[len(_BEFORE) :])
    if tuple(header) != (*_BEFORE, *(f"{_SCORE}{name}" for name in classes)) or not classes:
        raise SettingError(
            f"{path} begins with {','.join(header)[:200]!r}, not with"
            f" {','.join(_BEFORE)},{_SCORE}CLASS,...; give a table of predictions"
        )
    return _parse(path, classes, list(rows))


def _parse(path: Path, classes: tuple[str, ...], rows: Sequence[list[str]]) -> Predictions:
    if not rows:
        raise SettingError(f"{path} holds no prediction; test the training again")
    place = {name: i for i, name in enumerate(classes)}
    first = rows[0][:3]
    images: dict[tuple[str, str], None] = {}
    truth, guess, scores = [], [], []
    for line, row in enumerate(rows, 2):
        try:
            if len(row) != len(_BEFORE) + len(classes):
                raise ValueError(f"{len(row)} columns, not {len(_BEFORE) + len(classes)}")
            if row[:3] != first:
                raise ValueError(f"the row belongs to another run: {row[:3]}, not {first}")
            image = (row[3], row[4])
            if image in images:
                raise ValueError(f"{'/'.join(image)} is there twice")
            images[image] = None
            truth.append(place[row[5]])
            guess.append(place[row[6]])
            figures = [float(cell) for cell in row[len(_BEFORE) :]]
            if not np.isfinite(figures).all():
                raise ValueError("a score is not a number")
            scores.append(figures)
        except KeyError as error:
            problem = f"class {error} has no score column"
            raise SettingError(f"{path}, line {line}: {problem}; correct the file") from error
        except ValueError as error:
            raise SettingError(f"{path}, line {line}: {error}; correct the file") from error
    try:
        seed = int(first[2])
    except ValueError as error:
        raise SettingError(f"{path}: seed is {first[2]!r}; it must be a whole number") from error
    return Predictions(
        first[0], first[1], seed, classes, tuple(images), np.array(truth, np.int64),
        np.array(guess, np.int64), np.array(scores, np.float64),
    )  # fmt: skip
