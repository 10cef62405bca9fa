"""The reporter that sends the progress of trainings and searches to MLflow.

A training is a run with a nested run for each seed; a search is a run with a nested run for each
trial. Errors of tracking are reported and never stop a training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from pi10_classifier.errors import Pi10Error, SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.redaction import redacted
from pi10_classifier.tracking import spool as sp
from pi10_classifier.tracking.final_events import (
    Last,
    Step,
    final_events_of_pretraining,
    final_events_of_search,
    final_events_of_seed,
    final_events_of_training,
    final_events_of_trial,
)
from pi10_classifier.tracking.run import Status, TrackingRun, check_model_name, open_run
from pi10_classifier.tracking.sync import destination, installed
from pi10_classifier.training.reporter import NullReporter, Reporter

EXPERIMENT = "pi10"
Emit = Callable[[str], None]


def of_training(
    folder: Path,
    emit: Emit,
    *,
    experiment: str = "",
    register: str = "",
    resume: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Reporter:
    """The reporter of ``pi10 train``. register: name of the registered model, "" for none.

    Of several seeds, each one that is better on the validation images than all before it becomes a
    version. Without MLflow, it says so and tracks nothing. Raises SettingError for a bad name or
    address.
    """
    check_model_name(register)
    if not _usable(emit, environ):
        return NullReporter()
    enter = _entrance(folder, emit, experiment, resume, environ)
    return MlflowReporter(
        enter, emit, final_events_of_training, lambda seed: final_events_of_seed(seed, register)
    )


def of_search(
    folder: Path,
    emit: Emit,
    *,
    experiment: str = "",
    resume: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Reporter:
    """The reporter of ``pi10 search``; its children are the trials."""
    if not _usable(emit, environ):
        return NullReporter()
    return MlflowReporter(
        _entrance(folder, emit, experiment, resume, environ),
        emit,
        final_events_of_search,
        final_events_of_trial,
    )


def of_pretraining(
    folder: Path,
    emit: Emit,
    *,
    experiment: str = "",
    resume: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Reporter:
    """The reporter of ``pi10 pretrain``, which is one run."""
    if not _usable(emit, environ):
        return NullReporter()
    return MlflowReporter(
        _entrance(folder, emit, experiment, resume, environ), emit, final_events_of_pretraining
    )


class MlflowReporter:
    """An MLflow run as a Reporter; ``last`` yields the events of the finished run."""

    def __init__(
        self,
        enter: Callable[[], TrackingRun],
        emit: Emit,
        last: Last,
        last_of_child: Last | None = None,
    ) -> None:
        self._enter, self._emit = enter, emit
        self._last, self._last_of_child = last, last_of_child
        self._run: TrackingRun | None = None

    def on_start(self, params: Mapping[str, Any]) -> None:
        def enter() -> None:
            self._run = self._enter()

        self._unless_it_fails(enter)
        self._send(lambda run: run.params(plain(params)))

    def on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        self._send(lambda run: run.metrics(metrics, step))

    def on_end(self, folder: Path, status: str) -> None:
        steps: list[Step] = []
        if status == "FINISHED":
            self._unless_it_fails(lambda: steps.extend(self._last(folder)))
        for step in steps:
            self._send(step)
        self._send(lambda run: run.end(cast(Status, status)))

    def on_done_before(self, folder: Path, params: Mapping[str, Any]) -> None:
        """Complete a run that was cut off after the training's last file, or never started."""
        if not _is_whole(folder):
            self.on_start(params)
            self.on_end(folder, "FINISHED")

    def child(self, name: str) -> Reporter:
        def enter() -> TrackingRun:
            if self._run is None:
                raise SettingError(f"{name} has no parent run")
            return self._run.child(name)

        return MlflowReporter(enter, self._emit, self._last_of_child or self._last)

    def _send(self, step: Step) -> None:
        run = self._run
        if run is not None:
            self._unless_it_fails(lambda: step(run))

    def _unless_it_fails(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # an error of tracking must not end a long training
            reason = error.message if isinstance(error, Pi10Error) else repr(error)
            self._emit(f"tracking, which is now incomplete: {reason}")


class SingleSeedReporter(NullReporter):
    """The reporter of a training with one seed: the run ``inner``, without a parent."""

    def __init__(self, inner: Reporter) -> None:
        self.inner = inner

    def child(self, name: str) -> Reporter:
        return self.inner


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training's config.json as parameters: recipe and identity, without nesting."""
    params = {k: v for k, v in config.items() if k not in ("identity", "format", "notes")}
    identity = dict(config.get("identity", {}))
    recipe = dict(identity.pop("recipe", {}))
    if "seeds" in params:  # the whole training: the seed in the recipe is only the first one
        recipe.pop("seed", None)
    return {**identity, **recipe, **params}


def _usable(emit: Emit, environ: Mapping[str, str]) -> bool:
    if not installed():
        emit(
            "mlflow is not installed, so this is not tracked; the folder holds all figures"
            f" (to track: {install_command('train')}; to hide this line:"
            " --no-tracking)"
        )
        return False
    destination(environ)
    return True


def _entrance(
    folder: Path, emit: Emit, experiment: str, resume: bool, environ: Mapping[str, str]
) -> Callable[[], TrackingRun]:
    """Opens the run: the folder's latest where a training is resumed, else a new one."""

    def enter() -> TrackingRun:
        before = [run for run in sp.runs_of(folder / sp.SPOOL) if not run.header.parent]
        name, where = folder.resolve().name or "run", experiment or EXPERIMENT
        if resume and before:
            header = max(before, key=_begun).header
            name, where = header.name, header.experiment
        elif before:  # the folders of an earlier training were deleted; its record is kept
            name = f"{name}-{len(before) + 1}"
        run = open_run(where, name, folder=folder, environ=environ, warn=emit)
        emit(f"tracking: run {name!r} of experiment {where!r}, {redacted(destination(environ))}")
        return run

    return enter


def _begun(spool: sp.RunSpool) -> int:
    return int(next((event["at"] for event, _ in spool.events() if event), 0))


def _is_whole(folder: Path) -> bool:
    """Whether the end of the folder's latest run is logged: its own, or a part of that above."""
    own = [run for run in sp.runs_of(folder / sp.SPOOL) if not run.header.parent]
    if own:
        return _has_finished(max(own, key=_begun))
    runs = sp.runs_of(folder.parent / sp.SPOOL)
    roots = [run for run in runs if not run.header.parent]
    if not roots:
        return False
    above = max(roots, key=_begun).header.id
    for run in runs:
        if (run.header.parent, run.header.name) == (above, folder.name):
            return _has_finished(run)
    return False


def _has_finished(run: sp.RunSpool) -> bool:
    turns = [e for e, _ in run.events() if e and e["kind"] in ("open", "end")]
    return bool(turns) and turns[-1].get("status") == "FINISHED"
