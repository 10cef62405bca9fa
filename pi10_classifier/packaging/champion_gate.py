"""Judges a candidate against the champion: both on one frozen set of labelled test images.

The set is known by its SHA-256 over the images' hashes and classes, so that each promotion can be
held to the same images. The rule of refusal is in :attr:`Comparison.refusals`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.datasets.validated import fitted_on
from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.evaluation.bootstrap import (
    RESAMPLES,
    Difference,
    Interval,
    RunOutcome,
    holm,
    resample,
)
from pi10_classifier.evaluation.scoring import Scored, score
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.model.session import Model

LEAST_IMAGES = 30
LEVEL = 0.05
JSON, TEXT = "comparison.json", "comparison.md"
RULE = (
    "refused if its macro-F1 is lower than the champion's, or if the F1 of a class is lower by a"
    f" paired bootstrap test (two-sided p below {LEVEL}, Holm-adjusted over the classes), or if it"
    " was fitted on test images, or predicts other classes"
)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class: F1 of both, the difference, and its p adjusted over the classes."""

    label: str
    images: int
    candidate: Interval
    champion: Interval | None
    difference: Difference | None
    p_holm: float | None

    @property
    def is_worse(self) -> bool:
        return (
            self.difference is not None and self.p_holm is not None
            and self.difference.value < 0 and self.p_holm < LEVEL
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate and a champion on the same images.

    champion: its name and version; "" where there is none, and then all that needs it is None.
    test_sha256: of the test images' hashes and classes. changed: share of the images that get
    another class. fitted: test images that the candidate was fitted on. other_classes: why the two
    cannot be compared, "" if they can.
    """

    candidate: str
    champion: str
    candidate_sha256: str
    champion_sha256: str
    images: int
    test_sha256: str
    macro_f1: Interval
    champion_macro_f1: Interval | None
    difference: Difference | None
    changed: float | None
    per_class: tuple[ClassFigures, ...]
    fitted: int
    other_classes: str
    split: str
    inputs: tuple[str, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why the candidate is not to be promoted; empty if it may be."""
        reasons = []
        if self.fitted:
            reasons.append(f"it was fitted on {self.fitted:,} of the {self.images:,} test images")
        if self.other_classes:
            reasons.append(self.other_classes)
        if self.difference and self.difference.value < 0:
            reasons.append(f"its macro-F1 is lower: {_signed(self.difference)}")
        reasons.extend(
            f"its F1 of {row.label} is lower: {_signed(row.difference)}"
            for row in self.per_class
            if row.is_worse and row.difference
        )
        return tuple(reasons)

    @property
    def verdict(self) -> str:
        """In words: better, worse, not told apart, or without a champion."""
        if self.difference is None:
            return "not compared" if self.champion else "there is no champion to compare with"
        if self.difference.low > 0:
            return "better: the whole interval of the difference is above 0"
        if self.difference.high < 0:
            return "worse: the whole interval of the difference is below 0"
        return "not told apart: the interval of the difference includes 0"

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": 1, "rule": RULE, "refusals": list(self.refusals), "verdict": self.verdict,
            **asdict(self),
        }  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """The figures for the record of a promotion."""
        known: dict[str, Any] = {
            "images": self.images,
            "test_sha256": self.test_sha256,
            "macro_f1": round(self.macro_f1.value, 4),
            "verdict": self.verdict,
        }
        if self.champion_macro_f1 and self.difference:
            known["champion_macro_f1"] = round(self.champion_macro_f1.value, 4)
            known["difference"] = [
                round(x, 4)
                for x in (self.difference.value, self.difference.low, self.difference.high)
            ]
            known["p"] = round(self.difference.p, 4)
        if self.refusals:
            known["refusals"] = list(self.refusals)
        return known

    def to_text(self) -> str:
        """The report as Markdown."""
        lines = [
            f"# {self.candidate} against {self.champion or 'no champion'}",
            "",
            f"{self.images:,} labelled images{f' of the split {self.split}' if self.split else ''},"
            f" test set {self.test_sha256[:16]}. Verdict: {self.verdict}.",
            "",
            "| | images | candidate | champion | difference | p |",
            "|---|---|---|---|---|---|",
            _line("macro-F1", self.images, self.macro_f1, self.champion_macro_f1, self.difference,
                  self.difference.p if self.difference else None),
            *(
                _line(f"F1 of {row.label}", row.images, row.candidate, row.champion,
                      row.difference, row.p_holm)
                for row in self.per_class
            ),
            "",
            f"95 % intervals: {RESAMPLES} paired bootstrap resamples of the images. p: two-sided;"
            " of the classes, adjusted by Holm.",
        ]  # fmt: skip
        if self.changed is not None:
            lines.append(f"{self.changed:.2%} of the images get another class.")
        lines += ["", f"The rule: {RULE}."]
        lines += ["", *(f"- refused: {reason}" for reason in self.refusals)]
        return "\n".join(lines).rstrip() + "\n"


def compare_models(
    champion: Model | None,
    candidate: Model,
    inputs: Sequence[Path],
    *,
    label_map: LabelMap | None = None,
    manifest: Path | None = None,
    split: str = "",
    names: Mapping[str, str] | None = None,
    jobs: int = 0,
) -> Comparison:
    """Score the same labelled images with both models, and test the difference in pairs.

    split: of the manifest ("test" by default), or of a table that names splits; "" without either
    for all images. names: what to call the "candidate" and the "champion". Raises SettingError if
    there are too few images.
    """
    classes = candidate.package.classes
    split = split or ("test" if manifest else "")
    scan = load_labelled(inputs, label_map, manifest)
    chosen = of_split(scan, split) if split else scan.samples
    known = [sample for sample in chosen if sample.group in classes]
    if len(known) < LEAST_IMAGES:
        raise SettingError(
            f"{len(known)} test images of the candidate's classes are too few to compare on; at"
            f" least {LEAST_IMAGES} are needed, preferably thousands; give others by --data, or"
            " --label-map"
        )
    called = {"candidate": _named(candidate), **(names or {})}
    new = score(candidate, scan, known, jobs)
    truth = new.truth(classes)
    rows = {"candidate": [RunOutcome(truth, new.probabilities.argmax(axis=1))]}
    other = _other_classes(champion, candidate)
    changed = None
    if champion is not None:
        called.setdefault("champion", _named(champion))
        if not other:
            old = _in_order(score(champion, scan, known, jobs), champion, classes)
            rows["champion"] = [RunOutcome(truth, old)]
            changed = float(np.mean(old != rows["candidate"][0].guess))
    drawn = resample(rows, len(classes))
    compared = "champion" in rows
    tests = [
        drawn.difference("candidate", "champion", k) if compared else None
        for k in range(len(classes))
    ]
    adjusted = holm([test.p for test in tests if test]) if compared else [None] * len(classes)
    counts = Counter(sample.group for sample in new.samples)
    return Comparison(
        candidate=called["candidate"],
        champion=called.get("champion", ""),
        candidate_sha256=candidate.package.sha256,
        champion_sha256=champion.package.sha256 if champion else "",
        images=len(new.samples),
        test_sha256=hash_of_test_set(new.samples),
        macro_f1=drawn.f1("candidate"),
        champion_macro_f1=drawn.f1("champion") if compared else None,
        difference=drawn.difference("candidate", "champion") if compared else None,
        changed=changed,
        per_class=tuple(
            ClassFigures(
                label, counts[label], drawn.f1("candidate", k),
                drawn.f1("champion", k) if compared else None, tests[k], adjusted[k],
            )
            for k, label in enumerate(classes)
        ),
        fitted=len(fitted_on(candidate.package.description, new.samples)),
        other_classes=other,
        split=split,
        inputs=tuple(str(path) for path in inputs),
    )  # fmt: skip


def hash_of_test_set(samples: Iterable[Sample]) -> str:
    """SHA-256 of the images' hashes with their classes, in any order and under any names."""
    lines = sorted(f"{sample.sha256} {sample.group}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_comparison(out: Path, comparison: Comparison) -> list[Path]:
    """Write ``comparison.json`` and ``comparison.md``. Raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, out) from error
    fields = {**comparison.to_dict(), "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    text = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / JSON, text.encode("utf-8", "backslashreplace"))
    write_atomically(out / TEXT, comparison.to_text().encode("utf-8", "backslashreplace"))
    return [out / JSON, out / TEXT]


def _in_order(scored: Scored, model: Model, classes: Sequence[str]) -> Any:
    """The predicted classes as indices into ``classes``, which may be in another order."""
    place = {label: k for k, label in enumerate(classes)}
    order = np.array([place[label] for label in model.package.classes])
    return order[scored.probabilities.argmax(axis=1)]


def _other_classes(champion: Model | None, candidate: Model) -> str:
    if champion is None:
        return ""
    old, new = set(champion.package.classes), set(candidate.package.classes)
    parts = [
        f"{verb} {', '.join(sorted(labels))}"
        for verb, labels in (("adds", new - old), ("lacks", old - new))
        if labels
    ]
    return f"it {' and '.join(parts)}, so the two cannot be compared" if parts else ""


def _named(model: Model) -> str:
    return f"{model.package.name} {model.package.version}"


def _signed(difference: Difference) -> str:
    return f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def _line(
    name: str,
    images: int,
    new: Interval,
    old: Interval | None,
    difference: Difference | None,
    p: float | None,
) -> str:
    cells = [name, f"{images:,}", *(_span(x) for x in (new, old))]
    cells.append(_signed(difference) if difference else "")
    cells.append("" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}")
    return f"| {' | '.join(cells)} |"


def _span(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"
