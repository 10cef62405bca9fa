"""``pi10 validate label``: the labelling page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from pi10_classifier.cli.validate.draw import RUN
from pi10_classifier.cli.validate.moved import moved_option
from pi10_classifier.foundation.extras import install_command


@click.command()
@click.argument("results", type=RUN)
@click.option("--labeller", default="", help="Your name.  [default: the page asks]")
@click.option("--port", type=click.IntRange(0, 65_535), default=0,
              help="Port on 127.0.0.1.  [default: any that is free]")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address and open no browser.")
@moved_option
@click.option("--taxa", "own_taxa", metavar="CSV",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Taxa beside those that come along: name,aphia_id,rank,parent_id.  "
                   "[default: none]")  # fmt: skip
def label(
    results: Path, labeller: str, port: int, no_browser: bool, moved: Mapping[str, str],
    own_taxa: Path | None,
) -> None:  # fmt: skip
    """Label the sample of RESULTS on a page in the browser.

    The page works by keyboard alone, on this machine alone, and without a network. Each label is
    on the disk before the page goes on, in RESULTS/validation/labels.csv. Several people may label
    the same sample, each under their name. Ctrl-C ends it; the next start goes on where it ended.
    Needs the extra [serve].
    """
    from pi10_classifier.cli.terminal.console import counter
    from pi10_classifier.errors import SettingError
    from pi10_classifier.labelling.session import Session
    from pi10_classifier.taxonomy.table import TaxonTable

    try:
        from pi10_classifier.api.webpage.label_server import serve_labels
    except ImportError as error:
        raise SettingError(
            f"the page needs aiohttp ({error}); run: {install_command('serve')}"
        ) from error

    taxa = TaxonTable.load(own_taxa)
    session = Session.open(results, moved=moved, progress=counter("pictures"))
    reasons = list(session.problems.values())
    if reasons:
        click.echo(f"{len(reasons):,} particles have no picture; the first:", err=True)
        for reason in reasons[:3]:
            click.echo(f"  {reason}", err=True)

    def ready(address: str) -> None:
        click.echo(f"{len(session.sample):,} particles to label at {address} (Ctrl-C ends it)")
        if not no_browser:
            open_browser(address)

    serve_labels(session, port=port, labeller=labeller, taxa=taxa, ready=ready)
    who = session.labellers()
    counts = ", ".join(f"{name} {len(session.labels_of(name)):,}" for name in who) or "none yet"
    click.echo(f"labels in {session.store.path}: {counts}\nnext: pi10 validate estimate {results}")


def open_browser(address: str) -> None:
    """Open the browser beside the server: some browsers keep the program that starts them."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
