"""Progress, tables and messages at a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.errors import Pi10Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from pi10_classifier.classify import RunResult
    from pi10_classifier.inference.pipeline import Progress
    from pi10_classifier.model.session import Model


@contextmanager
def progress_of(inputs: Sequence[str], *, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """Show a live line with rate and remaining time if ``shown``; otherwise nothing."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[images]:,} images"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("{task.fields[failures]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("classifying", total=None, images=0, rate=0.0, failures="")
        # sizes are added up beside the work: a large tree takes a while to walk
        threading.Thread(
            target=lambda: bar.update(task, total=_total_bytes(inputs)), daemon=True
        ).start()

        def show(progress: Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(
                task,
                completed=progress.bytes_done,
                images=progress.inputs,
                rate=progress.inputs / elapsed if elapsed else 0.0,
                failures=f"{progress.failures:,} failed" if progress.failures else "",
            )

        yield show


def _total_bytes(inputs: Sequence[str]) -> int | None:
    from pi10_classifier.sources.discovery import discover

    try:
        return sum(unit.size for unit in discover(inputs)) or None
    except Pi10Error:
        return None


def show_run(run: RunResult, report: str | None, *, watched: bool = False) -> None:
    """Print the table of a classification, and the paths of its files.

    watched: most of the time was spent waiting, so a rate over it would say nothing.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(soft_wrap=True)
    totals = run.tally.totals
    if not totals["inputs"]:
        console.print("no image or archive was found in the inputs; check the paths")
        console.print(f"results: {run.out} (all tables are empty)", markup=False, highlight=False)
        return
    table = Table(title="Particles by class", title_justify="left")
    table.add_column("class")
    table.add_column("particles", justify="right")
    table.add_column("share", justify="right")
    for label, count in sorted(run.tally.labels.items()):
        table.add_row(escape(label), f"{count:,}", f"{count / max(totals['results'], 1):.1%}")
    console.print(table)
    rate = f"{run.images_per_second:,.0f} images/s"
    if run.units_resumed == run.units:
        rate = "all done before"
    took = f"{run.seconds:.1f} s, {rate}"
    if watched:
        took = f"watched for {run.seconds:.1f} s"
    console.print(
        f"{counted(totals['inputs'], 'input')} = {counted(totals['results'], 'result')} + "
        f"{counted(totals['failures'], 'failure')} + {totals['skipped']:,} skipped"
        f"  ({took})",
        highlight=False,
    )
    for code, count in sorted(run.tally.failures_by_code.items()):
        console.print(f"  {count:,} x {code}", highlight=False)
    for warning in run.tally.warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False)
    for note in notes_of(run.never_seen) if totals["results"] else ():
        console.print(note, markup=False, highlight=False)
    console.print(f"results: {run.out}", markup=False, highlight=False)
    if report:
        console.print(f"report:  {report}", markup=False, highlight=False)


def notes_of(never_seen: str) -> list[str]:
    """Notes on the use of the numbers, one line each; the model card has the rest."""
    begin, *more = never_seen.split("\n")
    short = begin if more else begin.partition(". ")[0]
    return [
        *([f"note: never seen by this model: {short.rstrip('.')}"] if short else []),
        "note: intervals cover the sampling of water only; they leave classification out"
        " until a sample is validated",
        "note: therefore label a sample of about 300 particles (pi10 validate draw), look at the"
        " report's gallery, and adapt the model with your own labels (pi10 adapt)",
    ]


def counted(count: int, noun: str) -> str:
    """``1 range``, ``2,000 ranges``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table to standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    Console().print(table)


def note_model(*, shown: bool) -> Callable[[Model], None]:
    """Say on standard error which model runs, on what and in which precision."""

    def note(model: Model) -> None:
        if shown:
            click.echo(model.words, err=True)

    return note


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return bool(sys.stderr and sys.stderr.isatty())


def counter(noun: str, *, verb: str = "read", shown: bool = True) -> Callable[[int, int], None]:
    """Show ``3 of 20 NOUN VERB`` on one line of a terminal; elsewhere nothing."""
    shown = shown and is_terminal()

    def show(done: int, wanted: int) -> None:
        if shown:
            click.echo(f"\r{done:,} of {wanted:,} {noun} {verb}", nl=done == wanted, err=True)

    return show


def log(text: str) -> None:
    """Print a line to standard error."""
    click.echo(f"pi10: {text}", err=True)
