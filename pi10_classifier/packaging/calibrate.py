"""Fits a package's temperature and thresholds on labelled images, and writes a new package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import LeftOut, Scan
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.datasets.validated import labels_used, runs_of
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation import calibration
from pi10_classifier.evaluation.metrics import COLDEST, HOTTEST, fit_temperature
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.evaluation.survey import sampled
from pi10_classifier.labelling.labelled import CALIBRATED
from pi10_classifier.model.package import MADE_OF
from pi10_classifier.model.session import Model
from pi10_classifier.model.writer import check_out, derive, quoted_card, write_package

LEAST_IMAGES = 30


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The fitted values.

    without: classes predicted too rarely for a threshold. margins: thresholds on the difference of
    the two best scores instead. confidence: of the lower limits. not_sampled: images of a run that
    are left out because they are not in its probability sample. of_runs: the runs whose labels were
    used.
    """

    package: Path
    images: int
    before: float
    temperature: float
    thresholds: dict[str, calibration.Threshold]
    without: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    margins: dict[str, calibration.Threshold]
    confidence: float
    not_sampled: int
    of_runs: tuple[str, ...]

    @property
    def at_bound(self) -> bool:
        """Whether the temperature is at a limit of its range; scores then hardly predict truth."""
        return not 1.001 * COLDEST < self.temperature < HOTTEST / 1.001


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
    confidence: float | None = None,
    on_scan: Callable[[Scan], None] = lambda scan: None,
) -> Calibrated:
    """Write ``out``: the same graph with a new temperature and, if wanted, thresholds.

    Images of none of the model's classes always count as wrong when thresholds are fitted to a
    precision; the temperature is fitted without them. Of a run's labels only the probability sample
    is used, for thresholds with its design weights.
    confidence: with which the precision holds on other images, see ``calibration.fit_thresholds``.
    Raises SettingError if there are too few images, and ModelError if the package outputs
    probabilities, to which no temperature can be applied.
    """
    package = model.package
    check_out(out, package)
    wish = ""
    if precision is not None or coverage is not None:
        calibration.check_wish(precision, coverage)
        wish = f"precision {precision}" if coverage is None else f"coverage {coverage}"
    calibration.check_confidence(confidence, precision)
    if confidence is not None:
        wish += f" with confidence {confidence}"
    if package.activation != "softmax":
        raise ModelError(
            f"{package.folder} gives probabilities, to which no temperature can be applied;"
            " export it with logits"
        )
    scan = load_labelled(inputs, label_map, manifest, outside=True)
    on_scan(scan)
    split = split or ("validation" if manifest else "")
    samples = of_split(scan, split) if split else list(scan.samples)
    scored, weight, not_sampled = sampled(score(model, scan, samples), runs_of(scan))
    known = scored.of(lambda sample: sample.group in package.classes)
    if len(known.samples) < LEAST_IMAGES:
        raise SettingError(
            f"{len(known.samples)} images of the model's classes are too few to fit a"
            f" temperature; give at least {LEAST_IMAGES}"
        )
    logits = calibration.as_logits(known.probabilities) * package.temperature
    temperature = fit_temperature(logits, known.truth(package.classes))
    thresholds: dict[str, calibration.Threshold] = {}
    margins: dict[str, calibration.Threshold] = {}
    if wish:
        place = {label: i for i, label in enumerate(package.classes)}
        truth = scored.truth_or(place, -1)
        p = calibration.at_temperature(scored.probabilities, temperature / package.temperature)
        thresholds, margins = (
            calibration.fit_thresholds(
                p, truth, package.classes, precision=precision, coverage=coverage,
                confidence=confidence, weight=weight, margin=by_margin,
            )
            for by_margin in (False, True)
        )  # fmt: skip
    made_of = labels_used(scan, scored.samples, CALIBRATED, package.description)
    fields = derive(
        package,
        "calibrated",
        temperature=temperature,
        thresholds=calibration.stored(thresholds),
        calibration={
            "images": len(scored.samples),
            "wish": wish,
            "before": package.temperature,
            "margins": calibration.stored(margins),
        },
        **{MADE_OF: made_of or None},
    )
    write_package(out, (package.folder / "model.onnx").read_bytes(), fields, "\n".join(
        [_section(len(known.samples), len(scored.samples), temperature, thresholds, margins, wish),
         quoted_card(package)]
    ))  # fmt: skip
    without = tuple(x for x in package.classes if wish and x not in thresholds)
    return Calibrated(
        out, len(known.samples), package.temperature, temperature, thresholds, without,
        scan.left_out, margins, confidence or 0.95, not_sampled,
        tuple(x for x in runs_of(scan) if any(s.source == x for s in scored.samples)),
    )  # fmt: skip


def _section(
    known: int,
    images: int,
    temperature: float,
    thresholds: dict[str, calibration.Threshold],
    margins: dict[str, calibration.Threshold],
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
            "| class | least score | called | kept | precision of kept | at least | instead: least"
            " margin |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for label, t in thresholds.items():
            note = "" if t.reached else " (not as wished)"
            row = (
                f"{t.score:.4f} | {t.called:,} | {t.kept:,} | {t.precision:.3f}{note} | {t.low:.3f}"
                f" | {margins[label].score:.4f}"
            )
            lines.append(f"| {label} | {row} |")
    return "\n".join([*lines, ""])
