"""The command ``pi10 oscar crate``: services packed for the OSCAR Hub."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.options import FOLDER


@click.command()
@click.argument("services", nargs=-1)
@click.option("--out", type=FOLDER, default=Path("crates"), show_default=True,
              help="Folder to write to; each service gets a subfolder.")  # fmt: skip
@click.option("--published", type=click.DateTime(["%Y-%m-%d"]),
              help="Date of publication.  [default: today, UTC]")  # fmt: skip
def crate(services: tuple[str, ...], out: Path, published: datetime | None) -> None:
    """Write a crate for the OSCAR Hub for each of SERVICES, or for all services.

    A crate holds a service's FDL file and script, an icon, a Node-RED flow, and their
    description in RO-Crate 1.2. It is made from the same files as `pi10 oscar deploy`.

    \b
    Example:
      pi10 oscar crate pi10-events --out oscar-hub/crates
    """
    from pi10_classifier.oscar.hub.crate import write_crate
    from pi10_classifier.oscar.services.fdl import SERVICES

    names = services or SERVICES
    for name in names:  # first, for a word on what is missing to read FDL files
        service_of(name)
    day = (published or datetime.now(UTC)).date()
    for name in names:
        click.echo(write_crate(name, out, day))
