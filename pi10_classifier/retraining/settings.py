"""The settings of the service ``pi10-retrain``, from environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import STARTER
from pi10_classifier.retraining.limits import Limits

_REFERENCE = re.compile(r"models:/(?P<name>[^@/]+)[@/].+")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}")
DEFAULT_NAME = "pi10"


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """What is retrained, and how.

    model: the champion, a package's folder or name, or ``models:/NAME@champion``. register: name of
    the registered model. recipe, init: of `pi10 train`; init "" is the champion's weights.
    """

    model: str
    register: str
    recipe: str
    init: str
    limits: Limits

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> RetrainSettings:
        """Read the settings. Raises SettingError with the variable whose value is unusable.

        ``PI10_MODEL`` (starter), ``PI10_RETRAIN_REGISTER`` (the name in PI10_MODEL, or pi10),
        ``PI10_RETRAIN_RECIPE`` (small), ``PI10_RETRAIN_INIT`` (the champion), and those of Limits.
        """
        model = environ.get("PI10_MODEL") or STARTER
        match = _REFERENCE.fullmatch(model)
        register = environ.get("PI10_RETRAIN_REGISTER") or (match["name"] if match else "")
        register = register or DEFAULT_NAME
        if not _WORD.fullmatch(register):
            raise SettingError(
                f"PI10_RETRAIN_REGISTER is {register!r}; use letters, digits, spaces and ._+-"
            )
        recipe = environ.get("PI10_RETRAIN_RECIPE") or "small"
        return cls(model, register, recipe, environ.get("PI10_RETRAIN_INIT") or "",
                   Limits.from_environ(environ))  # fmt: skip
