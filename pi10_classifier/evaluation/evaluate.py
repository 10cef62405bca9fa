"""Evaluates a model package on labelled images: metrics with intervals, and a page.

Images pass through the same decoder, preprocessing and runtime as in serving, without torch.
It writes ``evaluation.json`` and ``evaluation.html``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pi10_classifier
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.datasets.validated import fitted_on, runs_of
from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.evaluation.analysis import (
    figures_of,
    judge_calibration,
    judge_groups,
    judge_outside,
    judge_thresholds,
)
from pi10_classifier.evaluation.novelty import judge_novelty
from pi10_classifier.evaluation.ranking import ranked
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.evaluation.survey import judge_survey
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.model.session import Model

JSON, PAGE = "evaluation.json", "evaluation.html"


def evaluate(
    model: Model,
    inputs: Sequence[Path],
    *,
    label_map: LabelMap | None = None,
    split: str = "",
    manifest: Path | None = None,
    jobs: int = 0,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> dict[str, Any]:
    """Evaluate a package on labelled images; returns the content of ``evaluation.json``.

    Without a manifest, all images are used. With a manifest, or a table that names splits, the
    images of ``split`` are used (with a manifest: test by default). The temperature is refitted on
    the validation split, or on the training split if validation is evaluated. Raises SettingError
    if there is nothing to evaluate.

    Labelled particles of a run also give metrics of the whole survey, through their design
    weights; see ``survey``.
    """
    classes = model.package.classes
    scan = load_labelled(inputs, label_map, manifest, outside=True)
    on_scan(scan)
    split = split or ("test" if manifest else "")
    chosen = of_split(scan, split) if split else list(scan.samples)
    name = "train" if split == "validation" else "validation"
    other = [sample for sample in scan.samples if split and sample.split == name]
    known = [sample for sample in chosen if sample.group in classes]
    if not known:
        raise SettingError(
            f"no image belongs to a class of the model ({_some(classes)}); their classes are"
            f" {_some(sorted({s.group for s in chosen})) or 'none'}; give --label-map"
        )
    if len(known) == 1:
        raise SettingError(
            "one image is too few to evaluate a model; give at least two, preferably hundreds"
        )
    wanted = [*chosen, *(sample for sample in other if sample.group in classes)]
    everything = score(model, scan, wanted, jobs)
    chosen_names = {(sample.source, sample.member) for sample in chosen}
    here = everything.of(lambda s: (s.source, s.member) in chosen_names)
    judged = here.of(lambda s: s.group in classes)
    held = everything.of(lambda s: (s.source, s.member) not in chosen_names)
    truth = judged.truth(classes)
    surveys = {
        source: judge_survey(here.of(lambda s, name=source: s.source == name), classes, run)  # type: ignore[misc]
        for source, run in runs_of(scan).items()
    }
    sources = {
        source: figures_of(
            part.truth(classes), part.probabilities, classes, [s.bin for s in part.samples]
        )
        for source in scan.origins
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
            "fitted_on": len(fitted_on(model.package.description, judged.samples)),
            "absent_classes": sorted(set(classes) - {s.group for s in judged.samples}),
            "left_out_by_code": dict(sorted(Counter(x.code for x in scan.left_out).items())),
            "left_out": [asdict(x) for x in scan.left_out],
        },
        "all": figures_of(truth, judged.probabilities, classes, [s.bin for s in judged.samples]),
        "ranking": ranked(truth, judged.probabilities, classes),
        "sources": sources,
        "groups": judge_groups(model, judged, label_map),
        "surveys": {source: survey for source, survey in surveys.items() if survey},
        "calibration": judge_calibration(model, judged, held if held.samples else None, name),
        "thresholds": judge_thresholds(model, judged),
        "outside": judge_outside(model, here.of(lambda s: s.group not in classes)),
        "novelty": judge_novelty(model.package, here),
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
        "runtime": model.runs_on,
    }


def _sha256(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def write_evaluation(out: Path, evaluation: Mapping[str, Any]) -> list[Path]:
    """Write the JSON file and, if the extra [report] is installed, the page."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, out) from error
    text = json.dumps(evaluation, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / JSON, text.encode("utf-8", "surrogateescape"))
    written = [out / JSON]
    try:
        from pi10_classifier.evaluation.page import page
    except ImportError:
        return written
    write_atomically(out / PAGE, page(evaluation).encode("utf-8", "replace"))
    return [*written, out / PAGE]
