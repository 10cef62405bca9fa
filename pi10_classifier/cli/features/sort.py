"""``pi10 sort``: the sorting page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from pi10_classifier.cli.validate.draw import RUN
from pi10_classifier.cli.validate.moved import moved_option
from pi10_classifier.foundation.extras import install_command


@click.command()
@click.argument("results", type=RUN, metavar="RESULTS|DIR")
@click.option("--labeller", help="Your name.  [default: asks for it]")
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
    results: Path, labeller: str | None, most: int, seed: int, least: int, again: bool, port: int,
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
    from pi10_classifier.embedding.embed import embedded_run
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

    embedded_run(results)  # refuses a run without features before a person is asked
    if labeller is None:
        labeller = click.prompt("Your name")
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
