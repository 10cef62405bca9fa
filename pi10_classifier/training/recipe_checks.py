"""Checks of a recipe's settings that need no recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pi10_classifier.errors import SettingError


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
