"""One trial of a search: a training in a folder of its own, judged on validation images.

The folder is named after the settings, so that a trial that was cut goes on where it was.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pi10_classifier.search.spaces import Value
from pi10_classifier.tracking.mlflow_reporter import Alone
from pi10_classifier.training import output_folder
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import Examples
from pi10_classifier.training.plan import Plan
from pi10_classifier.training.recipe import Recipe, recipe_for
from pi10_classifier.training.reporter import Reporter, Silence

TRIALS = "trials"
_LONGEST_NAME = 120  # characters; of 255 that file systems take


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains once with a trial's settings: the ``TrainOne`` of a search.

    plan: of all trials, but for what a trial changes of its recipe; its ``out`` is the folder
    of the search. base: settings of the recipe that all trials share, as they were given. The
    test split is neither read nor judged.
    """

    examples: Examples
    plan: Plan
    base: Mapping[str, Any]
    reporter: Reporter | None = None
    say: Callable[[str], None] = print
    check: Callable[[], None] = lambda: None

    def __call__(self, params: Mapping[str, Value], /) -> float:
        """The highest validation macro-F1 of an epoch, whose weights are kept.

        Raises SettingError or ModelError where these settings cannot be trained.
        """
        name = slug(params)
        recipe = recipe_of(self.plan.network, self.base, params)
        plan = replace(self.plan, recipe=recipe, out=self.plan.out / TRIALS / name)
        (folder,) = runs.train_seeds(
            self.examples,
            plan,
            resume=True,
            say=self.say,
            check=self.check,
            reporter=Alone((self.reporter or Silence()).child(name)),
            test=False,
        )
        return output_folder.best_validation(folder)


def recipe_of(network: str, base: Mapping[str, Any], params: Mapping[str, Value]) -> Recipe:
    """The network's recipe with ``base`` and a trial's settings; ``a.b`` is b within a.

    Raises SettingError for what a recipe does not have.
    """
    changes: dict[str, Any] = dict(base)
    if "loss" in params:
        changes.pop("loss_options", None)  # those of the base are another loss's
    for name, value in params.items():
        outer, dot, inner = name.partition(".")
        changes[outer] = {**changes.get(outer, {}), inner: value} if dot else value
    return recipe_for(network, **changes)


def slug(params: Mapping[str, Value]) -> str:
    """A folder's name that tells the settings, and none else."""
    text = ",".join(f"{name}={value}" for name, value in sorted(params.items()))
    name = re.sub(r"[^\w.,=+-]", "_", text)
    if name == text and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
