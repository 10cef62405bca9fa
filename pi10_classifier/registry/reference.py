"""The name of a model in a registry: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pi10_classifier.errors import SettingError

SCHEME = "models:/"
MAX_NAME = 200
# MLflow's own rule; it reserves "latest" and v1, v2, ...
_ALIAS = re.compile(r"(?!latest$)(?![vV][0-9]+$)[A-Za-z0-9_-]{1,100}")
_VERSION = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A registered model, and which of its versions: that of an alias, or a number.

    Exactly one of ``alias`` and ``version`` is set.
    """

    name: str
    alias: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.alias:
            check_alias(self.alias)
        elif not _VERSION.fullmatch(self.version):
            raise SettingError(
                f"{self.version!r} is not a version of a registered model; it must be a number"
                f" such as 3, as in {SCHEME}{self.name}/3"
            )

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """From ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``. Raises SettingError."""
        rest = text.removeprefix(SCHEME)
        if rest.startswith("/") or not is_reference(text):
            raise SettingError(_FORM.format(text))
        name, at, alias = rest.partition("@")
        if at:
            return cls(name, alias=alias or "?")
        name, slash, version = rest.rpartition("/")
        if not slash:
            raise SettingError(_FORM.format(text))
        return cls(name, version=version)

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")


_FORM = "{!r} is not a registered model; give models:/NAME@ALIAS or models:/NAME/VERSION"


def is_reference(text: str) -> bool:
    """Whether a text names a model of a registry, not a folder or an embedded package."""
    return text.startswith(SCHEME)


def check_name(name: str) -> None:
    """Raise SettingError for a name that MLflow or a file system may not take."""
    if (
        not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip()
        or set(name) & set("/\\:@'\"`%") or name.startswith(".")
    ):  # fmt: skip
        raise SettingError(
            f"{name[:80]!r} is not a name of a registered model; it must have 1 to {MAX_NAME}"
            " printable characters, none of / \\ : @ % or quotes, and no dot at its start"
        )


def check_alias(alias: str) -> None:
    """Raise SettingError for an alias that MLflow does not take."""
    if not _ALIAS.fullmatch(alias):
        raise SettingError(
            f"{alias[:80]!r} is not an alias; it must have 1 to 100 letters, digits, _ or -, and"
            " not be latest, v1, v2 and so on, such as champion"
        )
