"""What trainings and searches tell MLflow: the reporter between ``runs.py`` and ``tracking.py``.

A training is a run, each seed a run nested in it; a search is a run, each trial one nested in
it. Nothing here stops a training: what goes wrong is said, and the training goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from pi10_classifier.errors import Pi10Error, SettingError
from pi10_classifier.training import outfolder as out
from pi10_classifier.training import spool as sp
from pi10_classifier.training.predictions import PREDICTIONS, read_predictions
from pi10_classifier.training.redaction import redacted
from pi10_classifier.training.reporter import Reporter, Silence
from pi10_classifier.training.sync import destination, installed
from pi10_classifier.training.tracking import Run, Status, check_model_name, open_run

EXPERIMENT = "pi10"
BEST_FIGURE = "best/validation_macro_f1"
Say = Callable[[str], None]
Step = Callable[[Run], object]
# run's folder -> what to tell of it once it is finished
Last = Callable[[Path], Iterator[Step]]


def of_training(
    folder: Path,
    say: Say,
    *,
    experiment: str = "",
    register: str = "",
    resume: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Reporter:
    """The reporter of ``pi10 train``. register: name of the registered model, "" for none.

    Of several seeds, one that beats those before it on the validation images becomes a
    version. Says so where there is no MLflow, and then tells nobody. Raises SettingError for
    a bad name or address.
    """
    check_model_name(register)
    if not _usable(say, environ):
        return Silence()
    enter = _entrance(folder, say, experiment, resume, environ)
    return Tracked(enter, say, last_of_training, lambda seed: last_of_seed(seed, register))


def of_search(
    folder: Path,
    say: Say,
    *,
    experiment: str = "",
    resume: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Reporter:
    """The reporter of ``pi10 search``; its children are the trials."""
    if not _usable(say, environ):
        return Silence()
    return Tracked(
        _entrance(folder, say, experiment, resume, environ), say, last_of_search, last_of_trial
    )


class Tracked:
    """A run of MLflow as a Reporter; ``last`` yields what is told when it has finished."""

    def __init__(
        self, enter: Callable[[], Run], say: Say, last: Last, last_of_child: Last | None = None
    ) -> None:
        self._enter, self._say = enter, say
        self._last, self._last_of_child = last, last_of_child
        self._run: Run | None = None

    def on_start(self, params: Mapping[str, Any]) -> None:
        def enter() -> None:
            self._run = self._enter()

        self._unless_it_fails(enter)
        self._tell(lambda run: run.params(plain(params)))

    def on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        self._tell(lambda run: run.metrics(metrics, step))

    def on_end(self, folder: Path, status: str) -> None:
        steps: list[Step] = []
        if status == "FINISHED":
            self._unless_it_fails(lambda: steps.extend(self._last(folder)))
        for step in steps:
            self._tell(step)
        self._tell(lambda run: run.end(cast(Status, status)))

    def on_done_before(self, folder: Path, params: Mapping[str, Any]) -> None:
        """Complete a run that was cut off after the training's last file, or never begun."""
        if not _is_whole(folder):
            self.on_start(params)
            self.on_end(folder, "FINISHED")

    def child(self, name: str) -> Reporter:
        def enter() -> Run:
            if self._run is None:
                raise SettingError(f"{name} has no run above it")
            return self._run.child(name)

        return Tracked(enter, self._say, self._last_of_child or self._last)

    def _tell(self, step: Step) -> None:
        run = self._run
        if run is not None:
            self._unless_it_fails(lambda: step(run))

    def _unless_it_fails(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # a training of days does not end for its record
            reason = error.message if isinstance(error, Pi10Error) else repr(error)
            self._say(f"tracking, which misses something now: {reason}")


class Alone(Silence):
    """The reporter of a training whose only seed is told of as ``inner``, without a parent."""

    def __init__(self, inner: Reporter) -> None:
        self.inner = inner

    def child(self, name: str) -> Reporter:
        return self.inner


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A training's config.json as parameters: recipe and identity without their folders."""
    told = {k: v for k, v in config.items() if k not in ("identity", "format", "notes")}
    identity = dict(config.get("identity", {}))
    recipe = dict(identity.pop("recipe", {}))
    if "seeds" in told:  # of the training as a whole; the recipe has the first one's
        recipe.pop("seed", None)
    return {**identity, **recipe, **told}


def last_of_seed(folder: Path, register: str = "") -> Iterator[Step]:
    """The test's figures, every epoch once more (none is doubled), the files and the package."""
    from pi10_classifier.training.drawings import log_test
    from pi10_classifier.training.environment import environment_text

    yield from last_of_trial(folder)
    yield lambda run: log_test(run, read_predictions(folder))
    for path in (folder / PREDICTIONS, folder / out.METRICS, folder / out.CONFIG):
        yield lambda run, path=path: run.artifact(path)  # type: ignore[misc]
    yield lambda run: run.artifact(folder.parent / out.MANIFEST)
    yield lambda run: run.text(environment_text(), "environment.json")
    package = folder / out.PACKAGE
    yield lambda run: run.text((package / "README.md").read_text("utf-8"), "model_card.md")
    yield lambda run: run.package(package, register if register and _is_best(folder) else "")


def last_of_training(folder: Path) -> Iterator[Step]:
    """Means over the seeds, under the names of the seeds' own figures, and the shared files."""

    def means(run: Run) -> None:
        seeds = _tested(folder)
        reports = [json.loads((s / out.PACKAGE / "model.json").read_text("utf-8")) for s in seeds]
        tested = [report["metrics"]["test split"]["macro_f1"]["value"] for report in reports]
        found = {
            "test/macro_f1": float(np.mean(tested)),
            BEST_FIGURE: float(np.mean([out.best_validation(seed) for seed in seeds])),
        }
        run.metrics(found, len(seeds))  # a step of its own, should seeds be added later

    yield means
    for name in (out.MANIFEST, out.LEFT_OUT):
        yield lambda run, name=name: run.artifact(folder / name)  # type: ignore[misc]


def last_of_trial(folder: Path) -> Iterator[Step]:
    """Every epoch once more, and the figure that the search goes by."""
    yield lambda run: _all_epochs(run, folder)
    yield lambda run: run.metrics({BEST_FIGURE: out.best_validation(folder)})


def last_of_search(folder: Path) -> Iterator[Step]:
    """The best trial and the table of all."""
    from pi10_classifier.training.search import BEST, TRIALS

    def best(run: Run) -> None:
        found = json.loads((folder / BEST).read_text("utf-8"))
        run.metrics({BEST_FIGURE: found["validation_macro_f1"]}, found["trial"])
        run.tags({f"best.{name}": value for name, value in found["params"].items()})

    if (folder / BEST).is_file():  # else no settings could be trained
        yield best
        yield lambda run: run.artifact(folder / BEST)
    yield lambda run: run.artifact(folder / TRIALS)


def _all_epochs(run: Run, folder: Path) -> None:
    """What a process that was killed had no time to tell; a step told twice stays as it was."""
    for record in out.read_metrics(folder):
        run.on_epoch(record)


def _tested(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"seed-*/{PREDICTIONS}")]


def _is_best(folder: Path) -> bool:
    others = [path for path in _tested(folder.parent) if path != folder]
    mine = out.best_validation(folder)
    return all(mine > out.best_validation(other) for other in others)


def _usable(say: Say, environ: Mapping[str, str]) -> bool:
    if not installed():
        say(
            "mlflow is not installed, so this is not tracked; its folder holds all figures"
            ' (pip install "pi10-classifier[train]" brings mlflow, --no-tracking spares this line)'
        )
        return False
    destination(environ)
    return True


def _entrance(
    folder: Path, say: Say, experiment: str, resume: bool, environ: Mapping[str, str]
) -> Callable[[], Run]:
    """Opens the run: the folder's latest where a training is resumed, else a new one."""

    def enter() -> Run:
        before = [run for run in sp.runs_of(folder / sp.SPOOL) if not run.header.parent]
        name, where = folder.resolve().name or "run", experiment or EXPERIMENT
        if resume and before:
            header = max(before, key=_begun).header
            name, where = header.name, header.experiment
        elif before:  # of a training whose folders were deleted; its record stays
            name = f"{name}-{len(before) + 1}"
        run = open_run(where, name, folder=folder, environ=environ, warn=say)
        say(f"tracking: run {name!r} of experiment {where!r}, {redacted(destination(environ))}")
        return run

    return enter


def _begun(spool: sp.RunSpool) -> int:
    return int(next((event["at"] for event, _ in spool.events() if event), 0))


def _is_whole(folder: Path) -> bool:
    """Whether the latest training in the folder above told the end of this one."""
    runs = sp.runs_of(folder.parent / sp.SPOOL)
    roots = [run for run in runs if not run.header.parent]
    if not roots:
        return False
    above = max(roots, key=_begun).header.id
    for run in runs:
        if (run.header.parent, run.header.name) == (above, folder.name):
            turns = [e for e, _ in run.events() if e and e["kind"] in ("open", "end")]
            return bool(turns) and turns[-1].get("status") == "FINISHED"
    return False
