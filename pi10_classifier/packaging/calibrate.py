"""Fit a package's temperature and thresholds on labelled images, and write a new package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation import calibration
from pi10_classifier.evaluation.metrics import fit_temperature
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, derive, quoted_card, write_package

LEAST_IMAGES = 30


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The fitted values. ``without``: classes predicted too rarely for a threshold."""

    package: Path
    images: int
    before: float
    temperature: float
    thresholds: dict[str, calibration.Threshold]
    without: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def calibrate(
    model: Model,
    inputs: Sequence[Path],
    out: Path,
    *,
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    split: str = "",
    precision: float | None = None,
    coverage: float | None = None,
    on_scan: Callable[[Scan], None] = lambda found: None,
) -> Calibrated:
    """Write ``out``: the same graph with a new temperature and, if wanted, thresholds.

    Images of none of the model's classes count as wrong whatever they are called when
    thresholds are fitted to a precision; the temperature is fitted without them.
    Raises SettingError where there are too few images, ModelError where the package
    gives probabilities, to which no temperature is applied.
    """
    package = model.package
    check_out(out, package)
    wish = ""
    if precision is not None or coverage is not None:
        calibration.check_wish(precision, coverage)
        wish = f"precision {precision}" if coverage is None else f"coverage {coverage}"
    if package.activation != "softmax":
        raise ModelError(
            f"{package.folder} gives probabilities, to which no temperature can be applied;"
            " export it with logits"
        )
    found = load_labelled(inputs, label_map, manifest)
    on_scan(found)
    split = split or ("validation" if manifest else "")
    samples = of_split(found, split) if split else list(found.samples)
    scored = score(model, found, samples)
    known = scored.of(lambda sample: sample.group in package.classes)
    if len(known.samples) < LEAST_IMAGES:
        raise SettingError(
            f"{len(known.samples)} images of the model's classes are too few to fit a"
            f" temperature; give at least {LEAST_IMAGES}"
        )
    logits = calibration.as_logits(known.probabilities) * package.temperature
    temperature = fit_temperature(logits, known.truth(package.classes))
    thresholds: dict[str, calibration.Threshold] = {}
    if wish:
        place = {label: i for i, label in enumerate(package.classes)}
        truth = scored.truth_or(place, -1)
        p = calibration.at_temperature(scored.probabilities, temperature / package.temperature)
        thresholds = calibration.fit_thresholds(
            p, truth, package.classes, precision=precision, coverage=coverage
        )
    fields = derive(
        package,
        "calibrated",
        temperature=temperature,
        thresholds=calibration.stored(thresholds),
        calibration={"images": len(scored.samples), "wish": wish, "before": package.temperature},
    )
    write_package(out, (package.folder / "model.onnx").read_bytes(), fields, "\n".join(
        [_section(len(known.samples), len(scored.samples), temperature, thresholds, wish),
         quoted_card(package)]
    ))  # fmt: skip
    without = tuple(x for x in package.classes if wish and x not in thresholds)
    return Calibrated(
        out, len(known.samples), package.temperature, temperature, thresholds, without,
        found.left_out,
    )  # fmt: skip


def _section(
    known: int,
    images: int,
    temperature: float,
    thresholds: dict[str, calibration.Threshold],
    wish: str,
) -> str:
    lines = [
        "## Calibrated",
        "",
        f"The graph is unchanged. Temperature {temperature} fitted on {known:,} labelled images.",
    ]
    if thresholds:
        lines += [
            "",
            f"Scores under these are flagged `below_threshold`, wished: {wish}; fitted on"
            f" {images:,} images, so the precision there is a little better than elsewhere.",
            "",
            "| class | least score | called | kept | precision of kept |",
            "|---|---:|---:|---:|---:|",
        ]
        for label, t in thresholds.items():
            note = "" if t.reached else " (not as wished)"
            row = f"{t.score:.4f} | {t.called:,} | {t.kept:,} | {t.precision:.3f}{note}"
            lines.append(f"| {label} | {row} |")
    return "\n".join([*lines, ""])
