"""The classification settings of a service, from environment variables.

``PI10_MODEL`` (starter), ``PI10_DEVICE`` (cpu), ``PI10_JOBS`` (cores), ``PI10_MEASURE``
(true), ``PI10_UM_PER_PX`` (10), ``PI10_ETAG`` (content).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import STARTER
from pi10_classifier.oscar.records.identity import etags_from
from pi10_classifier.registry.resolve import find

_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings of a service. ``etags`` says how to read etags: content or opaque."""

    classify: Settings
    etags: str = "content"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ServiceSettings:
        """Read the settings. Raises SettingError with the variable whose value is unusable."""
        given: dict[str, Any] = {"model": find(environ.get("PI10_MODEL") or STARTER, environ)}
        if environ.get("PI10_DEVICE"):
            given["device"] = environ["PI10_DEVICE"]
        given |= _number(environ, "PI10_JOBS", "jobs", int)
        given |= _number(environ, "PI10_UM_PER_PX", "um_per_px", float)
        measure = (environ.get("PI10_MEASURE") or "true").lower()
        if measure not in _TRUE + _FALSE:
            raise SettingError(f"PI10_MEASURE is {measure!r}; it must be true or false")
        return cls(Settings(measure=measure in _TRUE, **given), etags_from(environ))


def _number(environ: Mapping[str, str], name: str, field: str, kind: type) -> dict[str, Any]:
    text = environ.get(name)
    if not text:
        return {}
    try:
        return {field: kind(text)}
    except ValueError:
        raise SettingError(f"{name} is {text!r}; it must be a number") from None
