"""Builds marshmallow fields from the engine's parameters."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

from pi10_classifier.model.package import MAX_CLASSES

FILES = "files"  # the name apispec knows: formData
_PLAIN = re.compile(r"[+-]?[0-9.eE+-]+")
OPTIONS = "query_form_or_json"  # unknown to apispec, so documented as what it is by default: query


def bounded(
    kind: type[fields.Field],
    what: str,
    default: Any,
    bounds: tuple[float, float | None] | None = None,
    *,
    positive: bool = False,
) -> fields.Field:
    """A number within bounds (inclusive; of a positive one the lower is not).

    None as a default stands for what the engine takes.
    """
    check = validate.Range(*bounds, min_inclusive=not positive) if bounds else None
    return option(kind, what, default, check)


def option(
    kind: type[fields.Field], what: str, default: Any, check: Any = None, **more: Any
) -> fields.Field:
    """An option of a request."""
    return kind(
        load_default=default,
        allow_none=default is None,
        validate=[check] if check else None,
        metadata={"description": what, "location": OPTIONS, **more},
    )


def upload(what: str, *, required: bool) -> fields.Field:
    """A form's file. Exactly ``Field``: the DEEPaaS command line looks for that class."""
    default: dict[str, Any] = {} if required else {"load_default": None}
    told = {"description": what, "type": "file", "location": FILES}
    with warnings.catch_warnings():
        # marshmallow's, of 4.0; DEEPaaS pins 3
        warnings.filterwarnings("ignore", "`Field` should not be instantiated")
        return fields.Field(required=required, metadata=told, **default)


def one_of(known: Callable[[], Iterable[str]]) -> Callable[[str], None]:
    """Accept names that are known when the request comes."""

    def check(name: str) -> None:
        there = list(known())
        if name not in there:
            known_here = f"there are: {', '.join(there)}" if there else "there are none"
            raise ValidationError(f"{name[:80]!r} is not here; {known_here}.")

    return check


class Whole(fields.Integer):
    """A whole number, also as text; ``1.5`` is refused, not cut."""

    def _validated(self, value: Any) -> Any:
        if isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid", input=value)
        if isinstance(value, str) and not _PLAIN.fullmatch(value.strip()):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Number(fields.Float):
    """A number, also as text in plain digits: Python would take ``1_0`` and other scripts' too."""

    def _validated(self, value: Any) -> Any:
        if isinstance(value, str) and not _PLAIN.fullmatch(value.strip()):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Thresholds(fields.Field):
    """One score for all classes, or a JSON object of class and score; scores are 0 to 1."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float | dict[str, float]:
        given = value
        if isinstance(value, str):
            try:
                given = json.loads(value, object_pairs_hook=_each_once)
            except (ValueError, RecursionError) as error:
                raise ValidationError(
                    'Give a score, or an object such as {"copepod": 0.7}.'
                ) from error
        if isinstance(given, dict):
            if len(given) > MAX_CLASSES:
                raise ValidationError(f"More than {MAX_CLASSES} classes.")
            return {str(name): _score(score) for name, score in given.items()}
        return _score(given)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValidationError("A class is named twice; name each once.")
    return found


def _score(value: Any) -> float:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or not 0 <= value <= 1:
        raise ValidationError(f"{str(value)[:40]!r} is not a score; give a number from 0 to 1.")
    return float(value)
