"""Yields the events of a finished training or search: metrics, files, packages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pi10_classifier.evaluation.test_predictions import PREDICTIONS, read_predictions
from pi10_classifier.tracking.run import TrackingRun
from pi10_classifier.training import output_folder as out

BEST_FIGURE = "best/validation_macro_f1"
Step = Callable[[TrackingRun], object]
# run's folder -> the events to log once it is finished
Last = Callable[[Path], Iterator[Step]]


def final_events_of_seed(folder: Path, register: str = "") -> Iterator[Step]:
    """The test figures, all epochs again (repeats are ignored), the files and the package."""
    from pi10_classifier.tracking.environment import environment_text
    from pi10_classifier.tracking.log_test import log_test

    yield from final_events_of_trial(folder)
    yield lambda run: log_test(run, read_predictions(folder))
    for path in (folder / PREDICTIONS, folder / out.METRICS, folder / out.CONFIG):
        yield lambda run, path=path: run.artifact(path)  # type: ignore[misc]
    yield lambda run: run.artifact(folder.parent / out.MANIFEST)
    yield lambda run: run.text(environment_text(), "environment.json")
    package = folder / out.PACKAGE
    yield lambda run: run.text((package / "README.md").read_text("utf-8"), "model_card.md")
    yield lambda run: run.package(
        package,
        register if register and _is_best(folder) else "",
        figure=out.best_validation(folder),
        split=out.read_config(folder)["identity"]["split_sha256"],
    )


def final_events_of_training(folder: Path) -> Iterator[Step]:
    """Means over the seeds, named like the figures of a seed, and the shared files."""

    def means(run: TrackingRun) -> None:
        seeds = _tested(folder)
        reports = [json.loads((s / out.PACKAGE / "model.json").read_text("utf-8")) for s in seeds]
        tested = [report["metrics"]["test split"]["macro_f1"]["value"] for report in reports]
        means = {
            "test/macro_f1": float(np.mean(tested)),
            BEST_FIGURE: float(np.mean([out.best_validation(seed) for seed in seeds])),
        }
        run.metrics(means, len(seeds))  # the step is the number of seeds, which may grow later

    yield means
    for name in (out.MANIFEST, out.LEFT_OUT):
        yield lambda run, name=name: run.artifact(folder / name)  # type: ignore[misc]


def final_events_of_trial(folder: Path) -> Iterator[Step]:
    """All epochs again, and the figure that the search maximises."""
    yield lambda run: _all_epochs(run, folder)
    yield lambda run: run.metrics({BEST_FIGURE: out.best_validation(folder)})


def final_events_of_pretraining(folder: Path) -> Iterator[Step]:
    """All epochs again, the tables, the settings and the package."""
    from pi10_classifier.tracking.environment import environment_text

    yield lambda run: _all_epochs(run, folder)
    for name in (out.PARTICLES, out.LEFT_OUT, out.METRICS, out.CONFIG):
        yield lambda run, name=name: run.artifact(folder / name)  # type: ignore[misc]
    yield lambda run: run.text(environment_text(), "environment.json")
    package = folder / out.PACKAGE
    yield lambda run: run.text((package / "README.md").read_text("utf-8"), "model_card.md")
    yield lambda run: run.package(package)


def final_events_of_search(folder: Path) -> Iterator[Step]:
    """The best trial, and the table of all trials."""

    def best(run: TrackingRun) -> None:
        trial = json.loads((folder / out.BEST_TRIAL).read_text("utf-8"))
        run.metrics({BEST_FIGURE: trial["validation_macro_f1"]}, trial["trial"])
        run.tags({f"best.{name}": value for name, value in trial["params"].items()})

    if (folder / out.BEST_TRIAL).is_file():  # missing if no settings could be trained
        yield best
        yield lambda run: run.artifact(folder / out.BEST_TRIAL)
    yield lambda run: run.artifact(folder / out.TRIALS_TABLE)


def _all_epochs(run: TrackingRun, folder: Path) -> None:
    """Log all epochs, as a killed process may have missed some; repeated steps change nothing."""
    for record in out.read_metrics(folder):
        run.on_epoch(record)


def _tested(folder: Path) -> list[Path]:
    return [path.parent for path in folder.glob(f"seed-*/{PREDICTIONS}")]


def _is_best(folder: Path) -> bool:
    others = [path for path in _tested(folder.parent) if path != folder]
    mine = out.best_validation(folder)
    return all(mine > out.best_validation(other) for other in others)
