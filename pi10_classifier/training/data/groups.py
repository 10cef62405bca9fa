"""The groups that a training's network predicts: from the label map, and the images there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError
from pi10_classifier.model.groups import Groups
from pi10_classifier.training.data.in_memory import UNKNOWN
from pi10_classifier.training.data.loading import Examples
from pi10_classifier.training.recipe import Recipe


def groups_of(examples: Examples, recipe: Recipe) -> Groups | None:
    """The groups, class by class; None if the recipe gives them no weight.

    A group is there if a training image has it. A class whose images have none is a group itself.
    Raises SettingError without a label map that names groups.
    """
    if not recipe.groups:
        return None
    labels = examples.label_map
    if labels is None or not labels.groups:
        lack = "there is no label map" if labels is None else "the label map names no group"
        raise SettingError(
            f"groups is {recipe.groups}, but {lack}; give --label-map cefas, or a CSV with the"
            " columns label, class and group, or set groups to 0"
        )
    used = {(sample.group, sample.label) for sample in examples.of("train")}
    found = sorted({(home, name) for home, label in used if (name := labels.finer_group(label))})
    of: dict[str, str] = {}
    for label in examples.classes:
        of |= dict.fromkeys([name for home, name in found if home == label] or [label], label)
    if len(of) == len(examples.classes):
        raise SettingError(
            f"groups is {recipe.groups}, but no class has two groups with training images; name"
            " more in the label map, or set groups to 0"
        )
    return Groups(tuple(of), examples.classes, of)


def absent(examples: Examples, groups: Groups) -> tuple[str, ...]:
    """The groups of the label map that no training image has, so that they are not predicted."""
    labels = examples.label_map
    return tuple(sorted(set(labels.groups.values()) - set(groups.names))) if labels else ()


def numbering(examples: Examples, groups: Groups) -> Callable[[Sample], int]:
    """A function that gives the index of a sample's group; -1 where it is not known.

    An image of a class with one group is of that group.
    """
    labels = examples.label_map
    place = {name: number for number, name in enumerate(groups.names)}
    sole = {
        label: place[own[0]]
        for label in groups.classes
        if len(own := [name for name in groups.names if groups.of[name] == label]) == 1
    }
    named = {
        label: place.get(labels.finer_group(label), UNKNOWN) if labels else UNKNOWN
        for label in {sample.label for sample in examples.samples}
    }

    def number_of(sample: Sample) -> int:
        return sole.get(sample.group, named[sample.label])

    return number_of


def counted(examples: Examples, groups: Groups) -> dict[str, int]:
    """The training images of each group."""
    numbers = Counter(map(numbering(examples, groups), examples.of("train")))
    return {name: numbers[place] for place, name in enumerate(groups.names)}
