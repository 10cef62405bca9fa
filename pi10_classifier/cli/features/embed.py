"""``pi10 embed``: features of particles, and their map."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER, caps_of, engine_options
from pi10_classifier.foundation.output import lossy_output


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT|RESULTS...")
@click.option(
    "--out", type=FOLDER,
    help="Folder to write to.  [default: of one RESULTS, its folder embedding]",
)  # fmt: skip
@engine_options
@click.option("--map", "how", type=click.Choice(["pca", "umap", "none"]), default="pca",
              show_default=True,
              help="How map.html places particles; umap needs the extra [umap].")  # fmt: skip
@click.option("--map-n", "most", type=click.IntRange(3, 5_000), default=1_500, show_default=True,
              help="Particles on the map, a random choice.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same map.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--overwrite", is_flag=True, help="Delete the run in --out and start again.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print run.json instead of progress and tables."
)
@lossy_output()
def embed(
    inputs: tuple[str, ...], out: Path | None, model: str, how: str, most: int, seed: int,
    resume: bool, overwrite: bool, as_json: bool, measure: bool, **options: Any,
) -> None:  # fmt: skip
    """Classify as `pi10 classify` does, and keep the features of each particle.

    INPUT as of `pi10 classify`; RESULTS stands for the inputs that it was made of. Features are
    what the network's last layer takes; one pass gives both, with the same tables. RESULTS are
    embedded on their own --device, unless another is given.

    \b
    Written into --out, beside the tables of `pi10 classify`:
      features.parquet/  particle_id, source, member, features (float16), in the predictions' order
      map.html           thumbnails placed by their features, one file, for desktop and phone

    \b
    Examples:
      pi10 embed /data/cruise --out embedded
      pi10 embed results
    """
    from pi10_classifier.cli.terminal.console import is_terminal, progress_of, show_run
    from pi10_classifier.embedding.embed import device_of, resolve
    from pi10_classifier.embedding.embed import embed as run_embed
    from pi10_classifier.embedding.map_page import check_map, write_map
    from pi10_classifier.errors import SettingError
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.inference.pipeline import Progress
    from pi10_classifier.inference.settings import Settings
    from pi10_classifier.registry.resolve import find

    if resume and overwrite:
        raise SettingError("--resume and --overwrite exclude each other; give only one")
    check_map(how)  # before long work
    sources, home = resolve(inputs, out)
    source = click.get_current_context().get_parameter_source("device")
    if source is click.core.ParameterSource.DEFAULT and (of_run := device_of(inputs)):
        options["device"] = of_run
    given = {name: value for name, value in options.items() if value is not None}
    given |= caps_of(given.pop("max_megapixels", None), given.pop("max_megabytes", None))
    settings = Settings(model=find(model), measure=measure, **given)
    watched = is_terminal() and not as_json
    with stoppable() as raise_if_cancelled, progress_of(sources, shown=watched) as show:

        def progress(reached: Progress) -> None:
            raise_if_cancelled()
            show(reached)

        run = run_embed(
            sources, home, settings, resume=resume, overwrite=overwrite, progress=progress
        )
    if how == "umap":  # long and without steps that could be counted
        click.echo("placing particles by UMAP: half a minute and more to start", err=True)
    page = write_map(home, how, most, seed=seed) if how != "none" else None
    if as_json:
        click.echo((home / "run.json").read_text("utf-8"), nl=False)
    else:
        show_run(run, None)
        click.echo(home / "features.parquet")
        if page and page.path:
            click.echo(page.path)
    if page and page.problems:
        click.echo(f"{len(page.problems):,} particles are not on the map: their pixels could not"
                   f" be read again; the first: {page.problems[0]}", err=True)  # fmt: skip
    if page and not page.path:
        click.echo("note: no map: fewer than 3 particles", err=True)
    sys.exit(run.exit_code)
