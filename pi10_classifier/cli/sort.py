"""The commands ``pi10 embed`` and ``pi10 sort``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import FOLDER, caps_of, engine_options
from pi10_classifier.cli.validate.draw import RUN
from pi10_classifier.cli.validate.moved import moved_option
from pi10_classifier.foundation.extras import install_command
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
    what the network's last layer takes; one pass gives both, with the same tables.

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
    from pi10_classifier.embedding.embed import embed as run_embed
    from pi10_classifier.embedding.embed import resolve
    from pi10_classifier.embedding.map_page import check_map, write_map
    from pi10_classifier.errors import SettingError
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.inference.pipeline import Progress
    from pi10_classifier.inference.settings import Settings
    from pi10_classifier.model.package import find

    if resume and overwrite:
        raise SettingError("--resume and --overwrite exclude each other; give only one")
    check_map(how)  # before long work
    sources, home = resolve(inputs, out)
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


@click.command()
@click.argument("results", type=RUN, metavar="RESULTS|DIR")
@click.option("--labeller", required=True, prompt="Your name", help="Your name.")
@click.option("--n", "most", type=int, default=5_000, show_default=True,
              help="Particles to sort, a random choice where there are more.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same particles.")
@click.option(
    "--least", type=int, default=0,
    help="Least size of a cluster in the first round.  [default: 1 in 500 particles, at least 5]",
)  # fmt: skip
@click.option("--again", is_flag=True,
              help="Start a new sorting; the labels given before stay.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65_535), default=0,
              help="Port on 127.0.0.1.  [default: any that is free]")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address and open no browser.")
@moved_option
@click.option("--taxa", "own_taxa", metavar="CSV",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Taxa beside those that come along: name,aphia_id,rank,parent_id.  "
                   "[default: none]")  # fmt: skip
def sort(
    results: Path, labeller: str, most: int, seed: int, least: int, again: bool, port: int,
    no_browser: bool, moved: Mapping[str, str], own_taxa: Path | None,
) -> None:  # fmt: skip
    """Name whole clusters of particles alike on a page in the browser.

    Needs the features that `pi10 embed` writes. Dense clusters (HDBSCAN) come one by one: say
    whether one is of one kind, let it grow by its nearest others, name it; the rest is clustered
    again. Names go into RESULTS/validation/labels.csv, for `pi10 adapt`, `train` and `dataset`;
    `pi10 validate estimate` never uses them, since clusters are no random sample. Each answer is
    on the disk before the page goes on. Ctrl-C ends it; the next start goes on where it ended.
    Needs the extra [sort].
    """
    from pi10_classifier.cli.terminal.console import counter
    from pi10_classifier.cli.validate.label import open_browser
    from pi10_classifier.embedding.sort_session import SortSession
    from pi10_classifier.errors import SettingError
    from pi10_classifier.taxonomy.table import TaxonTable

    try:
        import sklearn  # noqa: F401

        from pi10_classifier.api.webpage.label_server import serve_alone
        from pi10_classifier.api.webpage.sorting import SortPage
    except ImportError as error:
        raise SettingError(
            f"sorting needs aiohttp and scikit-learn ({error}); run: {install_command('sort')}"
        ) from error

    taxa = TaxonTable.load(own_taxa)
    opened = SortSession.open(
        results, labeller, most=most, seed=seed, least=least, again=again, moved=moved,
        progress=counter("pictures"),
    )  # fmt: skip
    with opened as session:
        particles = session.particles
        reasons = list(session.problems.values())
        if reasons:
            click.echo(f"{len(reasons):,} particles have no picture and are left out; the first:"
                       f" {reasons[0]}", err=True)  # fmt: skip
        if particles.repeated:
            click.echo(f"{particles.repeated:,} particles have the id of another one and are left"
                       " out", err=True)  # fmt: skip

        def ready(address: str) -> None:
            click.echo(f"{len(particles.places):,} of {particles.all:,} particles to sort at"
                       f" {address} (Ctrl-C ends it)")  # fmt: skip
            if not no_browser:
                open_browser(address)

        serve_alone(SortPage(session, taxa), port=port, ready=ready)
        view = session.view()
        names = ", ".join(f"{name} {count:,}" for name, count in view.names.items())
        click.echo(f"{view.clusters_named:,} clusters named, labels in {session.store.path}:"
                   f" {names or 'none yet'}")  # fmt: skip
    click.echo(f"next: pi10 adapt --gallery {results / 'validation'} --out adapted")
