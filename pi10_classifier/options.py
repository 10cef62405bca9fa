"""What options of several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _Folder(click.Path):
    """A path that is not empty: of an unset shell variable, ``Path`` would make ``.``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("is empty; name a folder", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = _Folder(path_type=Path)
