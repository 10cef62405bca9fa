"""Checks of a recipe's settings, several together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.imaging.preprocess import MAX_GROUND_CLIP
from pi10_classifier.simulate.linescan import Effects

if TYPE_CHECKING:
    from pi10_classifier.training.recipe import Recipe


def check_kind(name: str, value: Any, kind: str) -> None:
    """Refuse "30" for 30, 1.5 for a count and true for a number; kind: the type as written."""
    optional = kind.endswith(" | None")
    if value is None and optional:
        return
    expected: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "bool": (bool,),
        "str": (str,),
        "Mapping[str, Any]": (Mapping,),
    }
    allowed = expected[kind.removesuffix(" | None")]
    right = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
    if not right:
        meant = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        raise SettingError(
            f"{name} is {value!r}; it must be {meant.get(allowed[-1], 'a table of options')}"
        )


def check_limits(minimum: int, maximum: int | None) -> None:
    """Refuse limits per class that contradict each other."""
    if minimum < 0 or (maximum is not None and maximum < max(1, minimum)):
        raise SettingError(
            f"per-class minimum {minimum} and maximum {maximum}: the minimum must be at least"
            " 0, and the maximum at least 1 and the minimum"
        )


def measured_names(text: str) -> tuple[str, ...]:
    """The measured numbers that a recipe names; "" is none, and "all" every one."""
    if text.strip() == "all":
        return NAMES
    names = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
    for name in names:
        if name not in NAMES or names.count(name) > 1:
            what = "twice" if name in NAMES else "which is not measured"
            raise SettingError(
                f"measured is {text!r}: it names {name!r} {what}; give all, or some of"
                f" {', '.join(NAMES)}, separated by commas"
            )
    return names


def check_levelled(recipe: Recipe, margin: float) -> None:
    """Refuse what needs a levelled background without one. margin: the augmentation's widest."""
    if recipe.augmentation == "pi10" and not recipe.level:
        raise SettingError(
            "augmentation 'pi10' needs levelled images, but level is false, so the model"
            " would be used on other images than it was trained on; set level=true, or"
            " augmentation to 'paper'"
        )
    if recipe.trim and not recipe.level:
        raise SettingError(
            f"trim is {recipe.trim}, but level is false, and particles can only be found on"
            " a levelled background; set level=true, or trim=0"
        )
    if recipe.augmentation == "pi10" and recipe.trim > margin:
        raise SettingError(
            f"trim is {recipe.trim}, but augmentation 'pi10' leaves margins of at most"
            f" {margin}, so the model would be used on other images than it was trained"
            f" on; set trim to {margin} or less"
        )
    if not 0 <= recipe.ground_clip <= MAX_GROUND_CLIP:
        raise SettingError(
            f"ground_clip is {recipe.ground_clip} grey levels; it must be 0 to {MAX_GROUND_CLIP}"
        )
    if recipe.ground_clip and not recipe.level:
        raise SettingError(
            f"ground_clip is {recipe.ground_clip}, but level is false, and only a levelled"
            " background is known to be 255; set level=true, or ground_clip=0"
        )


def check_drawn(recipe: Recipe) -> None:
    """Refuse drawn particles, or effects of the look, that the training would not use."""
    if recipe.drawn and recipe.augmentation != "pi10":
        raise SettingError(
            f"drawn is {recipe.drawn}, but augmentation is {recipe.augmentation!r}; drawn"
            " particles need augmentation 'pi10'"
        )

    Effects.without(recipe.look_without.split(","))
    if recipe.look_without and "linescan" not in (recipe.look_kind, recipe.drawn_kind):
        raise SettingError(
            f"look_without is {recipe.look_without!r}, but look_kind and drawn_kind are"
            " generic; set one of them to linescan, or look_without to nothing"
        )
