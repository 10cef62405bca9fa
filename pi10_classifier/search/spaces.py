"""The search spaces: the paper's grids, and ranges for TPE."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses import registry

Value = float | int | str
SAMPLERS = ("grid", "tpe")

# The grids of the paper, under the names that a recipe gives its settings.
_TRANSFORMER = {"rate": (1e-4, 5e-5, 1e-5), "epochs": (10, 20, 30)}
_RESNET = {"rate": (0.01, 0.001, 0.0001), "epochs": (20, 30, 100)}
PAPER_GRIDS: Mapping[str, Mapping[str, tuple[Value, ...]]] = {
    "vit": _TRANSFORMER,
    "beit": _TRANSFORMER,
    "resnet18": _RESNET,
    "resnet50": _RESNET,
}
LOSSES = tuple(registry.LOSSES)
LAS_GRID: Mapping[str, tuple[Value, ...]] = {
    "loss_options.shape": ("concave", "linear", "convex", "exponential")
}


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, for TPE; ``log`` spreads them evenly over magnitudes."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


ATTENTIVE = ("vit", "vit_small", "vit_tiny", "beit")


def fits(network: str, loss: str) -> bool:
    """Whether the network has what the loss reads: dynamic LAS needs attention."""
    return not registry.LOSSES[loss].needs_attention or network in ATTENTIVE


Space = Mapping[str, Sequence[Value] | Range]


def paper_space(network: str, sampler: str = "grid", losses: Sequence[str] = ("las",)) -> Space:
    """The paper's grid for ``network``; for TPE, a range between the ends of its rates.

    losses: if there are several, they are searched too. With only LAS or dynamic LAS, its four
    shapes are.
    Raises SettingError for a network or loss that the paper has no grid for.
    """
    if network not in PAPER_GRIDS:
        known = ", ".join(PAPER_GRIDS)
        raise SettingError(f"the paper has no grid for {network!r}, only for {known}; give a space")
    for loss in losses:
        if loss not in LOSSES:
            raise SettingError(f"loss {loss!r} is unknown; known: {', '.join(LOSSES)}")
        if not fits(network, loss):
            raise SettingError(
                f"loss {loss!r} reads the network's attention, and {network} has none; leave it"
                " out, or search with vit or beit"
            )
    space: dict[str, Sequence[Value] | Range] = dict(PAPER_GRIDS[network])
    if len(losses) > 1:
        space["loss"] = tuple(losses)
    elif losses and losses[0] in ("las", "dynamic_las"):
        space |= LAS_GRID
    if sampler == "tpe":
        rates = [float(rate) for rate in PAPER_GRIDS[network]["rate"]]
        space["rate"] = Range(min(rates), max(rates), log=True)
    return space


def read_space(texts: Sequence[str], losses: Sequence[str] = ()) -> Space:
    """Read a space from texts ``NAME=VALUE,VALUE,...``, instead of the paper's grid.

    NAME is a setting of the recipe, or ``loss_options.NAME`` for an option of the loss. Values are
    TOML values or words. losses: if there are several, they are searched too. Raises SettingError.
    """
    space: dict[str, Sequence[Value] | Range] = {}
    for text in texts:
        name, equals, listed = (part.strip() for part in text.partition("="))
        if not (name and equals and listed) or name in space:
            raise SettingError(
                f"{text!r} is not of the form NAME=VALUE,VALUE,..., or names a setting twice"
            )
        space[name] = tuple(_value(word.strip()) for word in listed.split(","))
    if len(losses) > 1:
        space["loss"] = tuple(losses)
    return space


def _value(word: str) -> Value:
    try:
        value = tomllib.loads(f"x = {word}")["x"]
    except tomllib.TOMLDecodeError:
        return word
    return value if isinstance(value, (bool, int, float)) else word


def count_trials(space: Space, sampler: str, trials: int | None) -> int:
    """Number of trials of a search in ``space``. Raises SettingError if it is unusable."""
    if sampler not in SAMPLERS:
        raise SettingError(f"sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
    if trials is not None and trials < 1:
        raise SettingError(f"trials is {trials}; it must be 1 or more")
    if not space:
        raise SettingError("the space to search is empty; give a setting with its values")
    size = 1
    for name, values in space.items():
        if isinstance(values, Range):
            if sampler == "grid":
                raise SettingError(f"{name} is a range; a grid needs a list of values")
            if not values.low < values.high or (values.log and values.low <= 0):
                raise SettingError(
                    f"{name} runs from {values.low} to {values.high}; the first"
                    " must be smaller and, on a log scale, above 0"
                )
        elif not values or len(set(values)) < len(values):
            raise SettingError(f"{name} has the values {list(values)}; give different ones")
        else:
            size *= len(values)
    if sampler == "grid":
        return size if trials is None else min(trials, size)
    if trials is None:
        raise SettingError("TPE has no natural end; give the number of trials with --trials")
    return trials


def as_json(values: Sequence[Value] | Range) -> Any:
    """Values or a range as JSON, for the record of the search's settings."""
    if isinstance(values, Range):
        return {"low": values.low, "high": values.high, "log": values.log, "whole": values.whole}
    return list(values)
