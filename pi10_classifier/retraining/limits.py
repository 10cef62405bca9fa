"""The limits of retraining, from environment variables ``PI10_RETRAIN_*``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pi10_classifier.errors import SettingError

_PREFIX = "PI10_RETRAIN_"
_LEAST = {"settle_s": 0.0, "new_labels": 0}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one round of retraining may use, and when there is one.

    minutes: of one training. images: labelled pictures that are used, the same number of each class
    as far as they go. gib: size of one delivery. new_labels: labels that the last round did not
    know, from which on there is a round. each_class: labelled pictures of each class of the model
    that a round needs. train_from: pictures of the rarest class from which on the whole network is
    trained instead of a new head. settle_s: seconds without a new delivery before a round.
    attempts: rounds of the same labels that were killed before these labels are left alone.
    """

    minutes: float = 60.0
    images: int = 20_000
    gib: float = 4.0
    new_labels: int = 50
    each_class: int = 60
    train_from: int = 200
    settle_s: float = 60.0
    attempts: int = 3

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Limits:
        """Read ``PI10_RETRAIN_MINUTES`` and the others. Raises SettingError with the variable."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            name = _PREFIX + field.name.upper()
            if environ.get(name):
                given[field.name] = _number(name, environ[name], type(field.default), field.name)
        limits = cls(**given)
        if limits.train_from < limits.each_class:
            raise SettingError(
                f"{_PREFIX}TRAIN_FROM is {limits.train_from}, but {_PREFIX}EACH_CLASS is "
                f"{limits.each_class}; a training cannot need fewer pictures than a new head"
            )
        return limits


def _number(variable: str, text: str, kind: type, name: str) -> float | int:
    least = _LEAST.get(name, 1 if kind is int else 0.0)
    try:
        number: float | int = kind(text)
    except ValueError:
        number = math.nan
    if not least <= number < 1e9 or (kind is float and name != "settle_s" and not number):
        raise SettingError(f"{variable} is {text!r}; it must be a number from {least:g} to 1e9")
    return number
