"""The command ``pi10 simulate``: write bins in the instrument's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER


@click.command()
@click.argument("out", type=FOLDER)
@click.option("--bins", type=int, default=3, show_default=True, help="Number of ten-minute bins.")
@click.option(
    "--images", type=int, default=500, show_default=True, help="Number of images per bin."
)
@click.option(
    "--sizes",
    help="Number of images of each bin, e.g. 50000,200,300; replaces --bins and --images."
    "  [default: none]",
)
@click.option("--partial", type=int, default=0, show_default=True,
              help="Number of bins, counted from the last, that start late.")  # fmt: skip
@click.option(
    "--seed",
    type=int,
    default=7,
    show_default=True,
    help="Random seed; the same seed gives the same bytes.",
)
@click.option("--folders", is_flag=True, help="Write each bin as a folder instead of a tar.")
@click.option(
    "--from",
    "crops",
    type=click.Path(exists=True, path_type=Path),
    help="Use your own crops, from a folder or a tar of images.  [default: drawn particles]",
)
def simulate(out: Path, crops: Path | None, sizes: str | None, **options: Any) -> None:
    """Write bins in the format of the Pi-10, for demos and tests.

    The particles are drawn, unless --from gives images to use instead.

    \b
    Examples:
      pi10 simulate demo --bins 3 --partial 1
      pi10 simulate bench --sizes 50000 --from crops/
    """
    from pi10_classifier.errors import SettingError
    from pi10_classifier.simulate import simulate_cruise

    if sizes is not None:
        try:
            options["sizes"] = [int(part) for part in sizes.split(",")]
        except ValueError:
            raise SettingError(f"--sizes is {sizes!r}; give whole numbers, e.g. 500,300") from None
    written = simulate_cruise(out, crops=crops, **options)
    for path in written:
        click.echo(path)
