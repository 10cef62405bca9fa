"""``pi10 oscar crate``: services as the OSCAR Hub wants them. A face."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.options import FOLDER


@click.command()
@click.argument("services", nargs=-1)
@click.option("--out", type=FOLDER, default=Path("crates"), show_default=True,
              help="Folder in which each service gets a folder of its own.")  # fmt: skip
@click.option("--published", type=click.DateTime(["%Y-%m-%d"]),
              help="Date of publication; today where it is not given.")  # fmt: skip
def crate(services: tuple[str, ...], out: Path, published: datetime | None) -> None:
    """Write crates of SERVICES (all where none is given) for the OSCAR Hub.

    A crate is a service's FDL and script, an icon, a flow for Node-RED and their description
    in RO-Crate 1.2, all made of what `pi10 oscar deploy` deploys.

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
