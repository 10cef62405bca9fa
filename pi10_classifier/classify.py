"""Classifies inputs into predictions, counts, failures and a summary; a run can be resumed.

One thread reads and writes. ``jobs`` threads decode, measure and predict; they share one
session. Results are collected in the order of the inputs, not the order in which they finish,
so the tables have the same bytes for any number of jobs and after any interruption.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pi10_classifier
from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.foundation.files import write_json
from pi10_classifier.foundation.versions import versions
from pi10_classifier.inference.pipeline import Progress, pipeline_of
from pi10_classifier.inference.settings import Settings, default_jobs
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.estimation.record import classification_of
from pi10_classifier.model.package import MADE_OF, Package
from pi10_classifier.model.session import Model
from pi10_classifier.results.input_spelling import spelled_as_before
from pi10_classifier.results.raising_factor import write_factors
from pi10_classifier.results.run_folder import UNLIKE, RunFolder
from pi10_classifier.results.tables import Tally, summarise
from pi10_classifier.sources.base import Unit
from pi10_classifier.sources.discovery import check_images, check_inputs, check_storage, discover
from pi10_classifier.sources.input_rules import SkippedPaths


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run."""

    out: Path
    tally: Tally
    seconds: float
    units: int
    units_resumed: int
    images_per_second: float
    exit_code: ExitCode
    never_seen: str


def classify(
    inputs: Sequence[str],
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    begun: Callable[[Model], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
) -> RunResult:
    """Classify all images of ``inputs`` into the folder ``out``.

    begun: called once with the model, after all that may refuse the run. Raises SettingError or
    ModelError before any work, OutputError where results cannot be written, and any exception that
    ``progress`` raises to stop the run between two steps. The folder can be resumed after each of
    them.
    """
    clock = time.perf_counter()
    check_inputs(inputs)
    check_images(inputs)
    check_storage(inputs, environ)
    if resume:
        inputs = spelled_as_before(inputs, out)
    model = Model.load(settings.model, settings.device, settings.features)
    notes = SkippedPaths()
    units = discover(inputs, settings.limits, environ, notes)
    return classify_units(
        units, inputs, out, settings, model,
        resume=resume, overwrite=overwrite, progress=progress, begun=begun, clock=clock,
        notes=notes,
    )  # fmt: skip


def classify_units(
    units: Iterator[Unit],
    inputs: Sequence[str],
    out: Path,
    settings: Settings,
    model: Model,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    begun: Callable[[Model], None] = lambda _: None,
    clock: float | None = None,
    notes: SkippedPaths | None = None,
) -> RunResult:
    """``classify`` with a loaded model and with units that the caller has found.

    inputs: the inputs that ``units`` come from. clock: ``time.perf_counter()`` when the work
    began; now if None. notes: what was skipped while ``units`` were found.
    """
    started = datetime.now(UTC)
    clock = time.perf_counter() if clock is None else clock
    package = model.package
    settings = settings.with_reference(package)
    if settings.groups and package.groups is None:
        raise SettingError(
            f"the model package {package.name} predicts {', '.join(package.classes)} alone, no"
            " groups within them; leave --groups out, or give a package that was trained with"
            " groups"
        )
    folder = RunFolder(
        out, package.classes, feature_size=model.feature_size, **settings.of_rows(package)
    )
    # not normalised: a unit's name is its path as the user gave it
    fingerprint = {"inputs": sorted(set(inputs)), **settings.fingerprint(model.package)}
    try:
        folder.open(fingerprint, resume=resume, overwrite=overwrite)
        begun(model)
        pipeline = pipeline_of(folder, settings, model, progress)
        blocks = pipeline.run(units)
        folder.drop_outdated_blocks(blocks, pipeline.seen)
        tally = summarise(folder)
        write_factors(folder, tally.factors)
        tally.warnings.extend(notes.warnings() if notes else ())
        missing = folder.published() - pipeline.seen
        if missing:
            tally.warnings.append(
                f"{len(missing)} archives or blocks of files were classified earlier and are no "
                "longer among the inputs; their results are kept; use --overwrite to remove them"
            )
    finally:
        folder.close()
    seconds = time.perf_counter() - clock
    run = RunResult(
        out=out,
        tally=tally,
        seconds=seconds,
        units=pipeline.units,
        units_resumed=pipeline.resumed,
        images_per_second=pipeline.fresh_results / seconds,
        exit_code=exit_code_of(tally),
        never_seen=str(model.package.description.get("never_seen", "")),
    )
    write_json(out / "run.json", describe(run, inputs, settings, package, started, model.runs_on))
    return run


def exit_code_of(tally: Tally) -> ExitCode:
    # a bin in which the instrument counted and saved nothing is an observation, not a failure
    if tally.totals["results"] == 0 and (tally.totals["failures"] or not tally.bins):
        return ExitCode.NOTHING_READ
    return ExitCode.SOME_FAILED if tally.totals["failures"] else ExitCode.OK


def describe(
    run: RunResult,
    inputs: Sequence[str],
    settings: Settings,
    package: Package,
    started: datetime,
    runs_on: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``run.json`` for a finished run.

    runs_on: of the model (``Model.runs_on``); None where others ran it, whose versions are unknown.
    """
    runtime = settings.runtime
    asked = {
        "library": runtime.library, "device": runtime.device, "precision": runtime.precisions
    }  # fmt: skip
    return {
        "format": 1,
        "totals": dict(run.tally.totals),
        "failures_by_code": dict(sorted(run.tally.failures_by_code.items())),
        # the model's classes, and no_particle where there are any: their sum is the results
        "results_by_class": dict.fromkeys(package.classes, 0) | dict(run.tally.labels),
        "densities": {
            name: {label: asdict(mean) if mean else None for label, mean in by_label.items()}
            for name, by_label in run.tally.densities.items()
        },
        "classification": classification_of(run.out, package.sha256),
        **_by_group(run.tally, settings, package),
        **_unlike_training(run.tally, package),
        "warnings": run.tally.warnings,
        "parameters": {
            "inputs": list(inputs),
            "jobs": settings.jobs,
            **settings.fingerprint(package),
        },
        "versions": {
            "pi10-classifier": pi10_classifier.__version__,
            "python": platform.python_version(),
            **versions(),
        },
        "runtime": dict(runs_on or asked),
        "machine": {
            "system": platform.system(),
            "cpu": platform.machine(),
            "cores": default_jobs(),
        },
        "model": {
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "graphs": package.hashes,  # sha256 is of the one that ran
            "classes": list(package.classes),
            "never_seen": run.never_seen,
            # the labelled particles that the model was made of: they cannot judge it
            **{key: value for key, value in package.description.items() if key == MADE_OF},
        },
        "units": {"all": run.units, "resumed": run.units_resumed},
        "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "seconds": round(run.seconds, 3),
        "images_per_second": round(run.images_per_second, 1),
        "exit_code": int(run.exit_code),
        "complete": True,
    }


def _by_group(tally: Tally, settings: Settings, package: Package) -> dict[str, Any]:
    """The images of each group; empty where groups were not asked for."""
    if not settings.groups or package.groups is None:
        return {}
    return {"results_by_group": {name: tally.groups[name] for name in package.groups.names}}


def _unlike_training(tally: Tally, package: Package) -> dict[str, Any]:
    """How many images are unlike the model's training images; empty where it cannot tell.

    images: all with a particle. share: of them. expected: that of held-out training images.
    """
    if package.novelty is None:
        return {}
    images = sum(count for label, count in tally.labels.items() if label != NO_PARTICLE)
    flagged = tally.unlike_training.total()
    return {
        UNLIKE: {
            "images": images,
            "flagged": flagged,
            "share": round(flagged / images, 4) if images else None,
            "expected": package.novelty.false_alarms,
            "by_class": {label: tally.unlike_training[label] for label in package.classes},
        }
    }
