"""A model package against labelled images: figures with intervals, and their page.

Images pass through the decoder, the preprocessing and the runtime that serve them; no
torch. What is written: ``evaluation.json`` and ``evaluation.html``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pi10_classifier
from pi10_classifier.classify import BATCH, default_jobs
from pi10_classifier.errors import ModelError, SettingError, output_error
from pi10_classifier.model import Model
from pi10_classifier.preprocess import U8, prepare
from pi10_classifier.results import write_atomically
from pi10_classifier.training import calibration
from pi10_classifier.training.data import read_rgb
from pi10_classifier.training.labels import LabelMap
from pi10_classifier.training.material import gather, of_split
from pi10_classifier.training.metrics import (
    F64,
    I64,
    confusion,
    fit_temperature,
    interval,
    per_class,
    redrawn,
    scores,
)
from pi10_classifier.training.sample import Sample, Scan

RESAMPLES = 1000
LEAST_BINS = 10
JSON, PAGE = "evaluation.json", "evaluation.html"


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
    pending: deque[Future[NDArray[np.float32]]] = deque()
    jobs = jobs or default_jobs()
    with ThreadPoolExecutor(jobs) as pool:
        for names, images in prepared(model, found, samples):
            seen += names
            pending.append(pool.submit(model.scores, images))
            while len(pending) > 2 * jobs:
                parts.append(pending.popleft().result())
        parts += [future.result() for future in pending]
    empty = np.empty((0, len(model.package.classes)))
    probabilities = np.concatenate([empty, *parts])
    if not np.isfinite(probabilities).all():
        raise ModelError(f"{model.package.folder}: some scores are not numbers; it is not judged")
    return Scored(tuple(seen), probabilities)


def figures_of(
    truth: I64,
    probabilities: F64,
    classes: Sequence[str],
    bins: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Macro and per-class precision, recall and F1 with 95 % percentile intervals.

    Macro figures are means over the classes that have images. Intervals resample images
    with replacement (Efron 1979), whole bins of the instrument where ``bins`` names at
    least ten: images of one bin resemble each other. They cover the choice of images, not
    of training seed, sea or camera.
    """
    k = len(classes)
    matrix = confusion(truth, probabilities.argmax(axis=1), k)
    present = np.flatnonzero(matrix.sum(axis=1))
    by_bin = all(bins) and len(set(bins)) >= LEAST_BINS
    if by_bin:
        _, place = np.unique(np.asarray(bins), return_inverse=True)
        cells = np.zeros((int(place.max()) + 1, k * k))
        np.add.at(cells, (place, truth * k + probabilities.argmax(axis=1)), 1)
        evenly = np.full(len(cells), 1 / len(cells))
        times = np.random.default_rng(seed).multinomial(len(cells), evenly, size=resamples)
        drawn: NDArray[Any] = (times @ cells).reshape(resamples, k, k)
    else:
        drawn = redrawn(matrix, resamples, seed)
    point, spread = scores(matrix), scores(drawn)
    macro = {
        f"macro_{key}": interval(point[key][present].mean(), spread[key][:, present].mean(axis=1))
        for key in ("f1", "precision", "recall")
    }
    return {
        "n": len(truth),
        "accuracy": round(float(np.trace(matrix) / len(truth)), 4),
        **macro,
        "resampled": "bins" if by_bin else "images",
        "per_class": per_class(matrix, drawn, classes),
        "confusion": matrix.tolist(),
    }


def judge_calibration(
    model: Model, judged: Scored, fitted_on: Scored | None, name: str = ""
) -> dict[str, Any]:
    """ECE, Brier and NLL without a temperature, as served, and at one fitted on other images.

    ``fitted_on`` are the other images, called ``name``; None fits each half of ``judged``
    on the other one.
    """
    package = model.package
    truth, served = judged.truth(package.classes), judged.probabilities
    # packages that give probabilities are served as they are
    inside = package.temperature if package.activation == "softmax" else 1.0
    if fitted_on is None:
        refitted, temperatures = calibration.refit_halves(served, truth)
        source = "each half of these images, judged on the other"
    else:
        logits = calibration.as_logits(fitted_on.probabilities)
        temperatures = [fit_temperature(logits, fitted_on.truth(package.classes))]
        refitted = calibration.at_temperature(served, temperatures[0])
        source = f"{len(fitted_on.samples):,} images of the {name} split"
    return {
        "uncalibrated": calibration.figures(calibration.at_temperature(served, 1 / inside), truth),
        "as_served": {"temperature": inside, **calibration.figures(served, truth)},
        "refitted": {
            "temperature": [round(inside * t, 4) for t in temperatures],
            "fitted_on": source,
            **calibration.figures(refitted, truth),
        },
        "reliability": {
            "as_served": calibration.reliability(served, truth),
            "refitted": calibration.reliability(refitted, truth),
        },
    }


def judge_outside(model: Model, outside: Scored) -> dict[str, Any]:
    """How images of none of the model's classes are called, and how surely."""
    classes, least = model.package.classes, np.array(model.package.thresholds)
    found: dict[str, Any] = {}
    for group in sorted({sample.group for sample in outside.samples}):
        p = outside.of(lambda s, g=group: s.group == g).probabilities  # type: ignore[misc]
        top, guess = p.max(axis=1), p.argmax(axis=1)
        found[group] = {
            "n": len(p),
            "called": {label: int((guess == i).sum()) for i, label in enumerate(classes)},
            "share_above_0.9": round(float((top > 0.9).mean()), 4),
        }
        if least.size:
            found[group]["share_flagged"] = round(float((top < least[guess]).mean()), 4)
    return found


def judge_thresholds(model: Model, judged: Scored) -> dict[str, Any]:
    """What the package's thresholds do here: precision and share of what they do not flag."""
    package, truth = model.package, judged.truth(model.package.classes)
    guess, top = judged.probabilities.argmax(axis=1), judged.probabilities.max(axis=1)
    found: dict[str, Any] = {}
    for i, (label, least) in enumerate(zip(package.classes, package.thresholds, strict=False)):
        called, kept = guess == i, (guess == i) & (top >= least)
        right = truth == i
        found[label] = {
            "threshold": least,
            "called": int(called.sum()),
            "kept": int(kept.sum()),
            "precision_called": round(float(right[called].mean()), 4) if called.any() else None,
            "precision_kept": round(float(right[kept].mean()), 4) if kept.any() else None,
        }
    return found


def evaluate(
    model: Model,
    inputs: Sequence[Path],
    *,
    label_map: LabelMap | None = None,
    split: str = "",
    manifest: Path | None = None,
    jobs: int = 0,
) -> dict[str, Any]:
    """Judge a package on labelled images; returns what ``evaluation.json`` holds.

    Without a manifest all images are judged. With one, or where a table names splits, those
    of ``split`` (with a manifest: test) are, and the temperature is refitted on the validation
    split, or on the training split where validation is the one judged. Raises SettingError
    where nothing can be judged.
    """
    classes = model.package.classes
    found = gather(inputs, label_map, manifest)
    split = split or ("test" if manifest else "")
    chosen = of_split(found, split) if split else list(found.samples)
    name = "train" if split == "validation" else "validation"
    other = [sample for sample in found.samples if split and sample.split == name]
    known = [sample for sample in chosen if sample.group in classes]
    if not known:
        raise SettingError(
            f"none of the images is of a class of the model ({_some(classes)}); their classes are"
            f" {_some(sorted({s.group for s in chosen})) or 'none'}; give --label-map"
        )
    wanted = [*chosen, *(sample for sample in other if sample.group in classes)]
    everything = score(model, found, wanted, jobs)
    mine = {(sample.source, sample.member) for sample in chosen}
    here = everything.of(lambda s: (s.source, s.member) in mine)
    judged = here.of(lambda s: s.group in classes)
    held = everything.of(lambda s: (s.source, s.member) not in mine)
    truth = judged.truth(classes)
    sources = {
        source: figures_of(
            part.truth(classes), part.probabilities, classes, [s.bin for s in part.samples]
        )
        for source in found.origins
        if (part := judged.of(lambda s, name=source: s.source == name)).samples  # type: ignore[misc]
    }
    return {
        "format": 1,
        "model": _about(model),
        "data": {
            "inputs": [str(path) for path in inputs],
            "split": split,
            "manifest_sha256": _sha256(manifest),
            "judged": len(judged.samples),
            "absent_classes": sorted(set(classes) - {s.group for s in judged.samples}),
            "left_out_by_code": dict(sorted(Counter(x.code for x in found.left_out).items())),
            "left_out": [asdict(x) for x in found.left_out],
        },
        "all": figures_of(truth, judged.probabilities, classes, [s.bin for s in judged.samples]),
        "sources": sources,
        "calibration": judge_calibration(model, judged, held if held.samples else None, name),
        "thresholds": judge_thresholds(model, judged),
        "outside": judge_outside(model, here.of(lambda s: s.group not in classes)),
        "version": pi10_classifier.__version__,
    }


def _about(model: Model) -> dict[str, Any]:
    package = model.package
    return {
        "name": package.name,
        "version": package.version,
        "sha256": package.sha256,
        "classes": list(package.classes),
        "temperature": package.temperature,
    }


def _sha256(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def write_evaluation(out: Path, evaluation: Mapping[str, Any]) -> list[Path]:
    """Publish the JSON, and the page where the extra [report] is installed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, out) from error
    text = json.dumps(evaluation, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / JSON, text.encode("utf-8", "surrogateescape"))
    written = [out / JSON]
    try:
        from pi10_classifier.training.evaluation_page import page
    except ImportError:
        return written
    write_atomically(out / PAGE, page(evaluation).encode("utf-8", "replace"))
    return [*written, out / PAGE]
