"""The command ``pi10 shore``: the minute lines of ships, received and shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option("--store", type=_FOLDER, envvar="PI10_SHORE_STORE",
              help="Folder that keeps received lines.  [default: none; no lines are received]"
              )  # fmt: skip
@click.option("--database", metavar="CONNINFO",
              help="PostgreSQL database that keeps them instead, as postgresql://USER@HOST/NAME, "
                   "without a password.  [default: PI10_SHORE_DATABASE, which may hold one]"
              )  # fmt: skip
@click.option("--tokens", type=click.Path(path_type=Path, dir_okay=False),
              envvar="PI10_SHORE_TOKENS_FILE",
              help="File with a line for each ship: its name and its token.  "
                   "[default: PI10_SHORE_TOKENS]")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, envvar="PI10_SHORE_HOST",
              help="Address to listen on; 0.0.0.0 means all addresses.")  # fmt: skip
@click.option("--port", type=int, default=5080, show_default=True, envvar="PI10_SHORE_PORT",
              help="Port to listen on; 0 means any free port.")  # fmt: skip
@click.option("--base-path", default="", envvar="PI10_SHORE_BASE_PATH",
              help="Path prefix that a proxy passes on, e.g. /shore.  [default: none]")  # fmt: skip
def shore(**options: Any) -> None:
    """Receive the minute lines of ships that run `pi10 watch`, and show them on a page.

    Ships send to http://HOST:PORT/lines (their --summary-url), each with its own token
    (PI10_SUMMARY_TOKEN). A line is acknowledged once it is on disk, and kept once however often
    it is sent. RESULTS are folders of finished runs; they are shown beside the ships, or alone.

    The page has no login: leave --host at 127.0.0.1 and put a proxy with TLS in front. Needs
    the extra [shore], and for --database [postgres].

    \b
    Examples:
      pi10 shore --store lines --tokens tokens.txt
      pi10 shore --database postgresql://shore@db.example/shore --tokens tokens.txt
      pi10 shore results-2024 results-2025
    """
    try:
        from pi10_classifier.shore.server import ShoreSettings, serve
    except ImportError as error:
        raise SettingError(
            f"shore needs aiohttp ({error}); run: {install_command('shore')}"
        ) from error

    def announce(url: str) -> None:
        click.echo(f"pi10 shore: the page is at {url} (Ctrl-C ends it)")

    serve(ShoreSettings(**options), os.environ, announce)
