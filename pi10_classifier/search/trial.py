"""One trial of a search: a training in its own folder, evaluated on validation images.

The folder is named after the settings, so that an interrupted trial can continue in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pi10_classifier.search.spaces import Value
from pi10_classifier.tracking.mlflow_reporter import SingleSeedReporter
from pi10_classifier.training import output_folder
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import Examples
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import Recipe, recipe_for
from pi10_classifier.training.reporter import NullReporter, Reporter

TRIALS = "trials"
_LONGEST_NAME = 120  # characters; file systems allow 255


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains once with a trial's settings; the ``TrainOne`` of a search.

    plan: the plan of all trials, except for the settings that a trial changes; its ``out`` is the
    folder of the search. base: settings of the recipe that all trials share. The test split is not
    read.
    """

    examples: Examples
    plan: TrainingPlan
    base: Mapping[str, Any]
    reporter: Reporter | None = None
    emit: Callable[[str], None] = print
    raise_if_cancelled: Callable[[], None] = lambda: None

    def __call__(self, params: Mapping[str, Value], /) -> float:
        """The highest validation macro-F1 of an epoch, whose weights are kept.

        Raises SettingError or ModelError if these settings cannot be trained.
        """
        name = slug(params)
        recipe = recipe_of(self.plan.network, self.base, params)
        plan = replace(self.plan, recipe=recipe, out=self.plan.out / TRIALS / name)
        (folder,) = runs.train_seeds(
            self.examples,
            plan,
            resume=True,
            emit=self.emit,
            raise_if_cancelled=self.raise_if_cancelled,
            reporter=SingleSeedReporter((self.reporter or NullReporter()).child(name)),
            test=False,
        )
        return output_folder.best_validation(folder)


def recipe_of(network: str, base: Mapping[str, Any], params: Mapping[str, Value]) -> Recipe:
    """The network's recipe with ``base`` and a trial's settings; ``a.b`` means b within a.

    Raises SettingError for what a recipe does not have.
    """
    changes: dict[str, Any] = dict(base)
    if "loss" in params:
        changes.pop("loss_options", None)  # the base's options belong to another loss
    for name, value in params.items():
        outer, dot, inner = name.partition(".")
        changes[outer] = {**changes.get(outer, {}), inner: value} if dot else value
    return recipe_for(network, **changes)


def slug(params: Mapping[str, Value]) -> str:
    """A folder name made from the settings, unique to them."""
    text = ",".join(f"{name}={value}" for name, value in sorted(params.items()))
    name = re.sub(r"[^\w.,=+-]", "_", text)
    if name == text and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
