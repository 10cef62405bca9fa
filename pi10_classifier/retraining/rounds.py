"""One round: from the labels that were accepted to a candidate and its comparison."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pi10_classifier
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.foundation.files import sha256, write_atomically, write_csv
from pi10_classifier.foundation.redaction import scrub, secrets_of
from pi10_classifier.model.package import Package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.champion_gate import JSON as COMPARISON
from pi10_classifier.packaging.champion_gate import (
    LEAST_IMAGES,
    Comparison,
    compare_models,
    write_comparison,
)
from pi10_classifier.packaging.champion_gate import TEXT as COMPARISON_TEXT
from pi10_classifier.retraining.delivery import Delivery, shown
from pi10_classifier.retraining.fitting import (
    LOG,
    MANIFEST,
    Candidate,
    NoCandidateError,
    fit,
    is_not_better,
    rule,
)
from pi10_classifier.retraining.frozen_test import Division, divide, uses, write_test
from pi10_classifier.retraining.pool import Labelled, Pool, assemble, limited
from pi10_classifier.retraining.record import UNSENT, record
from pi10_classifier.retraining.report import JSON, PAGE, write_report
from pi10_classifier.retraining.settings import RetrainSettings

LABELS, TEST, PACKAGE = "labels.csv", "frozen-test.tar", "package"
_HEADER = ("sha256", "label", "use")
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier rounds left: labels of the last one, the frozen test, rounds that were killed.

    labels: pairs of SHA-256 and label. test: the tar on this disk; None before the first round.
    killed: digest of labels -> rounds that began with them and never ended.
    """

    labels: frozenset[tuple[str, str]]
    test: Path | None
    killed: Mapping[str, int]


@dataclass(slots=True)
class Outcome:
    """How a round ended; ``files`` are those of its folder that are kept.

    fresh_test: whether ``work/frozen-test.tar`` was drawn in this round.
    """

    report: dict[str, Any]
    files: tuple[str, ...] = ()
    fresh_test: bool = False

    @property
    def state(self) -> str:
        return str(self.report["state"])


class Round:
    """A round in the folder ``work``, whose ``pictures`` the deliveries have filled."""

    def __init__(
        self,
        work: Path,
        round_id: str,
        champion: Package,
        settings: RetrainSettings,
        environ: Mapping[str, str],
        *,
        emit: Callable[[str], None],
        raise_if_cancelled: Callable[[], None],
    ) -> None:
        self._work, self._id, self._champion = work, round_id, champion
        self._settings, self._environ, self._emit = settings, environ, emit
        self._raise_if_cancelled = raise_if_cancelled

    def gather(self, deliveries: Sequence[Delivery], known: Known) -> tuple[Pool, dict[str, Any]]:
        """Join the deliveries; the report says ``waiting`` if there is no reason for a round."""
        classes, limits = self._champion.classes, self._settings.limits
        pool = assemble(deliveries, classes)
        counts, new = pool.counts(classes), pool.new(known.labels)
        report: dict[str, Any] = {
            "format_version": 1,
            "round": self._id,
            "state": "waiting",
            "reason": "",
            "champion": {
                "name": self._champion.name, "version": self._champion.version,
                "sha256": self._champion.sha256, "setting": self._settings.model,
            },
            "limits": asdict(limits),
            "labels": {
                "deliveries": len(deliveries), "counts": counts, "new": new,
                "not_used": _not_used(pool),
            },
            "test": None, "candidate": None, "comparison": None, "registered": None,
            "program": f"pi10-classifier {pi10_classifier.__version__}",
        }  # fmt: skip
        few = {name: n for name, n in counts.items() if n < limits.each_class}
        if few:
            told = ", ".join(f"{name} has {n:,}" for name, n in few.items())
            report["reason"] = (
                f"each class of the model needs {limits.each_class} labelled pictures; {told}"
            )
        elif new < limits.new_labels:
            report["reason"] = (
                f"{new:,} labels are new since the last round; the next begins at "
                f"{limits.new_labels:,}"
            )
        else:
            report["state"] = "begun"
        return pool, report

    def run(self, pool: Pool, report: dict[str, Any], known: Known) -> Outcome:
        """Fit, compare and record a candidate. Raises OutputError and KeyboardInterrupt."""
        classes, limits = self._champion.classes, self._settings.limits
        kept, over = limited(pool, limits.images, classes)
        try:
            division = divide(self._work, kept, classes, known.test)
        except SettingError as error:
            return self._end(report, "waiting", error.message)
        test = len(division.of("test"))
        if test < LEAST_IMAGES:  # before the fit, which would be for nothing
            reason = f"the frozen test would have {test} pictures; it needs {LEAST_IMAGES}"
            return self._end(report, "waiting", reason)
        self._describe(report, division, over)
        self._write_lists(division, over)
        if known.test:
            shutil.copyfile(known.test, self._work / TEST)
        else:
            names = {x.picture.sha256: x.picture.name for x in kept}
            write_test(self._work / TEST, division, self._work, names)
        files: tuple[str, ...] = (LABELS, MANIFEST, LOG)
        how = rule(division, classes, limits)
        self._emit(f"round {self._id}: pi10 {how} on {len(division.of('train')):,} pictures")
        try:
            candidate = fit(
                self._work, how, self._champion.folder, limits,
                name=f"{self._settings.register}-{self._id}", recipe=self._settings.recipe,
                init=self._settings.init, environ=self._environ,
                raise_if_cancelled=self._raise_if_cancelled,
            )  # fmt: skip
            comparison = compare_models(
                Model.load(self._champion.folder), Model.load(candidate.package),
                [self._work / TEST],
                names={"candidate": f"candidate {self._id}", "champion": self._settings.model},
            )  # fmt: skip
        except NoCandidateError as error:
            state = "not_better" if is_not_better(error) else "no_candidate"
            return self._end(report, state, error.message, files, division.fresh)
        except (SettingError, ModelError) as error:  # it cannot be verified or compared
            return self._end(report, "no_candidate", error.message, files, division.fresh)
        files += self._keep(report, candidate, comparison)
        registered = record(
            self._work, self._id, report, candidate, comparison, self._settings.register,
            sha256(self._work / MANIFEST), self._environ, self._emit,
        )  # fmt: skip
        report["registered"] = registered.to_dict()
        files += (UNSENT,) if (self._work / UNSENT).is_file() else ()
        return self._end(report, "candidate", report["reason"], files, division.fresh)

    def _describe(
        self, report: dict[str, Any], division: Division, over: Sequence[Labelled]
    ) -> None:
        """Tell of the split, and of what it leaves out."""
        test = division.of("test")
        report["test"] = {
            "images": len(test), "drawn_now": division.fresh, "relabelled": division.relabelled,
            "train": len(division.of("train")), "validation": len(division.of("validation")),
        }  # fmt: skip
        told = report["labels"]["not_used"]
        for why, names in (
            ("of a bin of the frozen test, or like one of its pictures; held back from training",
             [s.sha256[:12] for s in division.held_back]),
            (f"beyond the limit of {self._settings.limits.images:,} pictures",
             [x.picture.name for x in over]),
            *((f"{x.code}: {x.message}", [x.member]) for x in division.scan.left_out),
        ):  # fmt: skip
            if names:
                told.append(_entry(why, len(names), names))
        if division.relabelled:
            told.append(_entry("relabelled since they are in the frozen test, which keeps their "
                               "first label", division.relabelled, []))  # fmt: skip

    def _write_lists(self, division: Division, over: Sequence[Labelled]) -> None:
        write_csv(self._work / LABELS, _HEADER, uses(division, over))
        text = division.to_manifest()
        write_atomically(self._work / MANIFEST, text.encode("utf-8"))

    def _keep(
        self, report: dict[str, Any], candidate: Candidate, comparison: Comparison
    ) -> tuple[str, ...]:
        """Put the package and the comparison beside the report; returns their names."""
        target = self._work / PACKAGE
        shutil.copytree(candidate.package, target, dirs_exist_ok=True)
        files = [f"{PACKAGE}/{path.name}" for path in sorted(target.iterdir())]
        comparison = replace(comparison, inputs=(TEST,))
        write_comparison(self._work, comparison)
        report["comparison"] = comparison.to_dict()
        report["candidate"] = {
            "how": candidate.how, "seconds": round(candidate.seconds, 1),
            "command": candidate.command, "notes": list(candidate.notes),
            "package": f"rounds/{self._id}/{PACKAGE}", "sha256": sha256(target / "model.onnx"),
        }  # fmt: skip
        report["registered"] = {"done": False, "text": "", "run": "", "promote": ""}
        told = [f"On the frozen test it is {comparison.verdict}"]
        if comparison.refusals:
            told.append(f"A promotion would be refused: {'; '.join(comparison.refusals)}")
        report |= {"state": "candidate", "reason": ". ".join(told)}
        write_report(self._work, report)
        return (*files, COMPARISON, COMPARISON_TEXT)

    def _end(
        self, report: dict[str, Any], state: str, reason: str, files: tuple[str, ...] = (),
        fresh_test: bool = False,
    ) -> Outcome:  # fmt: skip
        report |= {"state": state, "reason": reason.replace(f"{self._work}/", "")}
        told = scrub(report, secrets_of(self._environ))
        write_report(self._work, told)
        there = tuple(name for name in (JSON, PAGE, *files) if (self._work / name).is_file())
        return Outcome(told, there, fresh_test)


def read_labels_known(data: bytes) -> frozenset[tuple[str, str]]:
    """What ``labels.csv`` of a round says; nothing if it is damaged."""
    rows = csv.DictReader(io.StringIO(data.decode("utf-8", "replace"), newline=""))
    return frozenset((row["sha256"] or "", row["label"] or "") for row in rows
                     if row.get("sha256") and row.get("label"))  # fmt: skip


def _not_used(pool: Pool) -> list[dict[str, Any]]:
    entries = []
    for why, names in (
        ("labellers differ on them; agree, or take a label back", pool.contradicting),
        ("labelled, but no delivery has a picture of this name", pool.without_picture),
        ("another picture came first under this name", pool.replaced),
    ):
        if names:
            entries.append(_entry(why, len(names), names))
    entries += [_entry(f"labelled {name!r}, which is no class", n, []) for name, n in pool.no_class]
    if pool.unlabelled:
        entries.append(_entry("without a label", pool.unlabelled, []))
    return entries


def _entry(why: str, count: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "why": shown(why, 300),
        "count": count,
        "examples": [shown(x) for x in names[:_EXAMPLES]],
    }
