"""The commands of a group, each imported when it is called.

So ``pi10 classify`` does not wait for what only ``pi10 train`` needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import click


class Commands(dict[str, click.Command]):
    """Name -> command, of ``click.Group.commands``.

    places: name -> where the command is, as ``module:function``, in the order of the names.
    """

    def __init__(self, places: dict[str, str]) -> None:
        super().__init__(dict.fromkeys(places, click.Command(None)))
        self._places = dict(places)

    def __getitem__(self, name: str) -> click.Command:
        place = self._places.pop(name, None)
        if place:
            module, _, function = place.partition(":")
            self[name] = getattr(import_module(module), function)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The command; ``default`` where there is none of this name."""
        return self[name] if name in self else default  # noqa: SIM401  (it is that method)

    def values(self) -> Any:
        """All commands, which imports them."""
        self._load(self)
        return super().values()

    def items(self) -> Any:
        """All names with their commands, which imports them."""
        self._load(self)
        return super().items()

    def _load(self, names: Iterable[str]) -> None:
        for name in list(names):
            self[name]
