"""``pi10 simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER


@click.command()
@click.argument("out", type=FOLDER)
@click.option("--bins", type=int, default=3, show_default=True, help="Ten-minute bins.")
@click.option("--images", type=int, default=500, show_default=True, help="Images a bin.")
@click.option("--sizes", help="Images of each bin in turn, e.g. 50000,200,300.")
@click.option("--partial", type=int, default=0, show_default=True,
              help="How many of the bins start late.")  # fmt: skip
@click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same bytes.")
@click.option("--folders", is_flag=True, help="Write folders, not tars.")
@click.option("--from", "crops", type=click.Path(exists=True, path_type=Path),
              help="Wrap real crops: a folder or a tar of images.")  # fmt: skip
def simulate(out: Path, crops: Path | None, sizes: str | None, **options: Any) -> None:
    """Write bins as the Pi-10 would, for demos and tests.

    Particles are drawn; --from wraps your own images into bins instead.

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
