"""The description and the model card of an adapted package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi10_classifier.datasets.records import LeftOut
from pi10_classifier.model.measured import FIELD as MEASURED
from pi10_classifier.model.measured import Measured
from pi10_classifier.model.package import MADE_OF, Package, format_of
from pi10_classifier.model.writer import derive
from pi10_classifier.packaging.adaptation.as_it_is import Compared
from pi10_classifier.packaging.adaptation.features import Trunk

OUTPUT = "adapted_logits"


@dataclass(frozen=True, slots=True)
class Adapted:
    """The package that was written, and its figures in cross-validation.

    of_runs: the runs whose labelled particles it was fitted on. replayed: source images of each
    class that were fitted together with the crops. compared: with the model as it is; None where
    the classes differ. chosen: False where there were too few crops to choose settings by.
    finetuned: the network was trained too.
    """

    package: Path
    head: str
    settings: Mapping[str, Any]
    labels: Mapping[str, int]
    new: tuple[str, ...]
    figures: Mapping[str, Any]
    tried: Mapping[str, float]
    temperature: float
    parity: float
    left_out: tuple[LeftOut, ...]
    of_runs: tuple[str, ...] = ()
    replayed: Mapping[str, int] | None = None
    compared: Compared | None = None
    chosen: bool = True
    finetuned: bool = False


def describe(
    base: Package,
    done: Adapted,
    adapted: Mapping[str, Any],
    trunk: Trunk,
    name: str,
    measured: Measured | None,
    made_of: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    total = sum(done.labels.values())
    return derive(
        base,
        "adapted",
        name=name or f"{base.name}-adapted",
        version="1",
        classes=list(done.labels),
        output={"name": OUTPUT, "activation": "softmax"},
        format=format_of(base.preprocessing, measured),
        features={"name": trunk.name, "size": trunk.size},
        temperature=done.temperature,
        thresholds={},
        calibration=None,
        novelty=None,  # it knows the old classes
        groups=None,
        training={},
        trunk={"training": base.description.get("trunk", base.description).get("training", {})},
        metrics={"cross-validation on the gallery": done.figures},
        adapted=dict(adapted),
        **{
            MADE_OF: list(made_of) or None,
            MEASURED: measured.to_dict() if measured else None,
        },
        never_seen=(
            f"Anything but the {total} labelled crops of its gallery: its head knows no other sea,"
            " season or camera. Its figures come from cross-validation on these crops alone."
        ),
    )


def section(done: Adapted) -> str:
    total = sum(done.labels.values())
    f1 = done.figures["macro_f1"]
    settings = ", ".join(
        f"{k} {v}" if isinstance(v, str) else f"{k} {v:g}" for k, v in done.settings.items()
    )
    lines = [
        "## Adapted",
        "",
        _made(done, settings, total) + _replayed(done),
        "",
        "| class | labels | cross-validated F1 |",
        "|---|---:|---|",
    ]
    for label, n in done.labels.items():
        row = done.figures["per_class"][label]["f1"]
        mark = " (new)" if label in done.new else ""
        lines.append(
            f"| {label}{mark} | {n} | {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) |"
        )
    others = ", ".join(f"{k} {v:.3f}" for k, v in done.tried.items())
    if done.of_runs:
        lines += [
            "",
            f"Among the crops are labelled particles of {', '.join(done.of_runs)}, named in"
            " `model.json` as `validated`: they can neither judge this model nor correct densities"
            " of a run with it.",
        ]
    lines += [
        "",
        f"Cross-validated macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f}); tried:"
        f" {others}. Temperature {done.temperature} from the same folds; ONNX Runtime agrees with"
        f" scikit-learn within {done.parity:.1e} in every probability.",
        "",
        *([f"{done.compared}.".capitalize(), ""] if done.compared else []),
        f"**What this figure is not.** {_how(done, total)}; the interval covers the choice of"
        " these crops alone. Crops of one bin or one day resemble each other more than those of"
        " the next. Label other crops, from another day, and run `pi10 evaluate`.",
        "",
    ]
    return "\n".join(lines)


def _made(done: Adapted, settings: str, total: int) -> str:
    views = f"{total} labelled crops and their mirror images and quarter turns."
    if not done.finetuned:
        return (
            f"A {done.head} head ({settings}) on the frozen features of the package below, fitted"
            f" on {views}"
        )
    return (
        f"A {done.head} head ({settings}) was fitted on {views} Then the network of the package"
        " below and this head were trained together on the same crops, turned by any angle, at a"
        " low rate and pulled back to where they began."
    )


def _replayed(done: Adapted) -> str:
    if not done.replayed:
        return ""
    counts = ", ".join(f"{n:,} {label}" for label, n in done.replayed.items())
    return f" Features of the model's source images were fitted together with them ({counts})."


def _how(done: Adapted, total: int) -> str:
    if done.head == "linear":
        return (
            f"Each of the {total} crops was judged by a head that was fitted, with its settings, on"
            " the others"
        )
    return (
        f"It comes from {total} crops, the very ones the settings were chosen on, so it is a little"
        " too high"
    )
