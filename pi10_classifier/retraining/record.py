"""Records a round in MLflow, and registers its candidate.

Everything passes the spool of `tracking`: a server that is away cannot stop a round, and what it
did not take is kept with the round, for `pi10 track sync`.
"""

from __future__ import annotations

import shlex
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Pi10Error
from pi10_classifier.model.package import package_digest
from pi10_classifier.packaging.champion_gate import JSON as COMPARISON
from pi10_classifier.packaging.champion_gate import Comparison
from pi10_classifier.registry.client import Registry
from pi10_classifier.retraining.fitting import Candidate
from pi10_classifier.retraining.report import JSON, PAGE
from pi10_classifier.tracking.environment import environment_text
from pi10_classifier.tracking.run import ALIAS, open_run
from pi10_classifier.tracking.spool import SPOOL
from pi10_classifier.tracking.sync import installed
from pi10_classifier.training.output_folder import METRICS, read_metrics

EXPERIMENT = "pi10-retrain"
UNSENT = f"{SPOOL}.tar"


@dataclass(frozen=True, slots=True)
class Registered:
    """What became of the registration. run: our id of the run, its tag ``pi10.run_id``."""

    done: bool
    text: str
    run: str = ""
    promote: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"done": self.done, "text": self.text, "run": self.run, "promote": self.promote}


def record(
    work: Path,
    round_id: str,
    report: Mapping[str, Any],
    candidate: Candidate,
    comparison: Comparison,
    register: str,
    split: str,
    environ: Mapping[str, str],
    emit: Callable[[str], None],
) -> Registered:
    """Record the run and register the package as a version with the alias ``candidate``.

    split: SHA-256 of the manifest. Never raises for a server that is away, nor for tracking that
    fails: the answer says so. Without an address of MLflow nothing is recorded: a database in the
    folder of a job would be lost with it.
    """
    if not environ.get("MLFLOW_TRACKING_URI"):
        return Registered(False, "not registered, because MLFLOW_TRACKING_URI is not set")
    if not installed():
        return Registered(False, "not registered, because MLflow is not installed")
    try:
        run = open_run(
            EXPERIMENT, f"{register} {round_id}", folder=work, environ=environ, warn=emit
        )
        with run:
            run.params(
                {"how": candidate.how, "command": candidate.command,
                 "champion": report["champion"], "limits": report["limits"],
                 "labels": report["labels"]["counts"]}
            )  # fmt: skip
            run.tags({"pi10.round": round_id, "pi10.verdict": comparison.verdict})
            run.metrics(_metrics(comparison))
            if candidate.training is not None:
                for epoch in read_metrics(candidate.training):
                    run.on_epoch(epoch)
                run.artifact(candidate.training / METRICS)
            for name in (JSON, PAGE, COMPARISON):
                if (work / name).is_file():
                    run.artifact(work / name)
            run.text(environment_text(), "environment.json")
            run.package(candidate.package, register, figure=None, split=split)
    except Pi10Error as error:
        return Registered(False, f"not registered: {error.message}")
    if run.unsent:
        _pack(work / SPOOL, work / UNSENT)
        return Registered(
            False,
            f"not registered yet, because MLflow did not take {run.unsent} entries of the run; "
            f"unpack {UNSENT} of this round into a folder, and run `pi10 track sync` there",
            run.id,
        )  # fmt: skip
    version = _version(register, candidate.package, environ)
    what = f"version {version} of" if version else "a version of"
    return Registered(
        True,
        f"{what} the registered model {register}, with the alias {ALIAS}",
        run.id,
        f"pi10 models promote {shlex.quote(register)} --candidate {version or ALIAS} "
        "--data frozen-test.tar --out compared",
    )


def _metrics(comparison: Comparison) -> dict[str, float]:
    """The figures of the comparison, by the names of those of a training."""
    values = {"test/macro_f1": comparison.macro_f1.value}
    values |= {f"test/f1/{row.label}": row.candidate.value for row in comparison.per_class}
    if comparison.champion_macro_f1 and comparison.difference:
        d = comparison.difference
        values |= {
            "test/champion_macro_f1": comparison.champion_macro_f1.value,
            "test/difference": d.value,
            "test/difference_low": d.low,
            "test/difference_high": d.high,
            "test/p": d.p,
        }
    return values


def _version(register: str, package: Path, environ: Mapping[str, str]) -> str:
    """The number of the version that holds this package; "" if the registry does not tell."""
    digest = package_digest(package)
    try:
        versions = Registry.from_environ(environ).versions(register)
    except Pi10Error:  # away, or a database in a file, which only MLflow itself reads
        return ""
    return next((x.version for x in versions if x.digest == digest), "")


def _pack(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(folder, folder.name)
