"""Helpers that the commands of ``pi10 oscar`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command

if TYPE_CHECKING:
    from pi10_classifier.oscar.services.fdl import Service


_MISSING = "this command needs {}; run: {}"


def service_of(name: str) -> Service:
    """The service of this name or FDL file. Raises SettingError, also if a package is missing."""
    try:
        from pi10_classifier.oscar.services.fdl import named

        return named(name)
    except ImportError as error:
        raise SettingError(_MISSING.format(error.name, install_command("oscar"))) from error
