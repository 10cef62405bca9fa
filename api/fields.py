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
OPTIONS = "query_form_or_json"  # unknown to apispec, which therefore documents it as query


def bounded(
    kind: type[fields.Field],
    description: str,
    default: Any,
    bounds: tuple[float, float | None] | None = None,
    *,
    positive: bool = False,
) -> fields.Field:
    """A number within inclusive bounds. With ``positive``, the lower bound is exclusive.

    A default of None means the engine's own default.
    """
    check = validate.Range(*bounds, min_inclusive=not positive) if bounds else None
    return option(kind, description, default, check)


def option(
    kind: type[fields.Field], description: str, default: Any, check: Any = None, **more: Any
) -> fields.Field:
    """An option of a request."""
    return kind(
        load_default=default,
        allow_none=default is None,
        validate=[check] if check else None,
        metadata={"description": description, "location": OPTIONS, **more},
    )


def upload(description: str, *, required: bool) -> fields.Field:
    """A file in a form. It is a plain ``Field``: DEEPaaS's command line looks for that class."""
    default: dict[str, Any] = {} if required else {"load_default": None}
    metadata = {"description": description, "type": "file", "location": FILES}
    with warnings.catch_warnings():
        # marshmallow warns of a change in 4.0; DEEPaaS pins 3
        warnings.filterwarnings("ignore", "`Field` should not be instantiated")
        return fields.Field(required=required, metadata=metadata, **default)


def one_of(known: Callable[[], Iterable[str]]) -> Callable[[str], None]:
    """Accept the names that ``known`` lists when the request arrives."""

    def check(name: str) -> None:
        names = list(known())
        if name not in names:
            remedy = f"choose one of: {', '.join(names)}" if names else "there are none"
            raise ValidationError(f"{name[:80]!r} is not available here; {remedy}.")

    return check


class Whole(fields.Integer):
    """A whole number, also as text; ``1.5`` is refused, not rounded."""

    def _validated(self, value: Any) -> Any:
        if isinstance(value, float) and not value.is_integer():
            raise self.make_error("invalid", input=value)
        if isinstance(value, str) and not _PLAIN.fullmatch(value.strip()):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Number(fields.Float):
    """A number, also as text in plain digits; Python also accepts ``1_0`` and other scripts."""

    def _validated(self, value: Any) -> Any:
        if isinstance(value, str) and not _PLAIN.fullmatch(value.strip()):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class Thresholds(fields.Field):
    """One score for all classes, or a JSON object of class and score. Scores lie in 0 to 1."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float | dict[str, float]:
        thresholds = value
        if isinstance(value, str):
            try:
                thresholds = json.loads(value, object_pairs_hook=_without_repeats)
            except (ValueError, RecursionError) as error:
                raise ValidationError(
                    'Give a score, or an object such as {"copepod": 0.7}.'
                ) from error
        if isinstance(thresholds, dict):
            if len(thresholds) > MAX_CLASSES:
                raise ValidationError(
                    f"{len(thresholds)} classes; give at most {MAX_CLASSES} classes."
                )
            return {str(name): _score(score) for name, score in thresholds.items()}
        return _score(thresholds)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    scores = dict(pairs)
    if len(scores) < len(pairs):
        raise ValidationError("A class is named twice; name each class once.")
    return scores


def _score(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= 1:
        raise ValidationError(f"{str(value)[:40]!r} is not a score; give a number from 0 to 1.")
    return float(value)
