"""``--moved``: where images lie now that a run read from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click


def moved_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--moved`` to a command; it gives a mapping of old to new beginnings of sources."""
    return click.option(
        "--moved", multiple=True, metavar="FROM=TO", callback=_places,
        help="Where images lie now that were read from FROM; may be repeated.  "
             "[default: where they were]",
    )(command)  # fmt: skip


def _places(
    context: click.Context, option: click.Parameter, texts: Sequence[str]
) -> dict[str, str]:
    places = {}
    for text in texts:
        before, equals, now = text.partition("=")
        if not (before and equals and now):
            raise click.BadParameter(f"{text!r}; give FROM=TO, as /mnt/cruise=/data/cruise")
        places[before] = now
    return places
