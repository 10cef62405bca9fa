"""``pi10 oscar batch``: a bucket's archives classified by many workers. A face."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.console import tell
from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.oscar.batch.options import Reached


@click.command()
@click.argument("source")
@click.option("--out", required=True, help="A folder of the same bucket, s3://bucket/folder/.")
@click.option(
    "--service",
    default="pi10-batch",
    show_default=True,
    help="Its name or FDL file: where to send ranges, and what a worker needs.",
)
@click.option("--workers", type=int, help="How many at a time.  [default: what the cluster holds]")
@click.option(
    "--chunk",
    type=int,
    help="Units a range, at the most: archives, or blocks of 1024 images.  [default: 1 to 64]",
)
@click.option(
    "--attempts",
    type=int,
    default=3,
    show_default=True,
    help="Set a unit aside after so many lost ranges that began with it.",
)
@click.option("--cruise", default="", help="One cruise of this name, whatever the folders are.")
@click.option("--resume", is_flag=True, help="Go on with the batch in --out.")
@click.option("--relist", is_flag=True, help="With --resume: list again first, for new inputs.")
@click.option("--retry-failed", is_flag=True, help="With --resume: try again what was set aside.")
@click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Write report.html for each cruise (needs the extra [report]).",
)
@click.option(
    "--poll",
    "poll_s",
    type=float,
    default=10.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--lost-after",
    "lost_s",
    type=float,
    default=180.0,
    show_default=True,
    help="A range is lost so many seconds after the last sign of its worker.",
)
@click.option(
    "--start-within",
    "start_s",
    type=float,
    default=900.0,
    show_default=True,
    help="... or before the first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def batch(source: str, out: str, service: str, workers: int | None, chunk: int | None,
          attempts: int, cruise: str, resume: bool, relist: bool, retry_failed: bool,
          report: bool, poll_s: float, lost_s: float, start_s: float,
          as_json: bool) -> None:  # fmt: skip
    """Classify all archives and images of a folder of a bucket, by many workers.

    SOURCE is s3://bucket/folder/. Workers are jobs of a service that mounts the bucket; each
    gets a range of bins. May be killed at any moment: --resume goes on, and what is published
    is not done again. Storage, cluster and model come from the environment as for `reconcile`;
    to ask what the cluster can take, OSCAR_USERNAME and OSCAR_PASSWORD or OSCAR_TOKEN as well.

    \b
    Written into --out:
      predictions.parquet/cruise=C/date=D/  one data set, one part a bin
      tables/cruise=C/                      counts.csv, bins.csv, failures.csv, run.json, report

    \b
    Examples:
      pi10 oscar batch s3://pi10/rapid/ --out s3://pi10/results/rapid/
      pi10 oscar batch s3://pi10/rapid/ --out s3://pi10/results/rapid/ --resume
    """
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.model.package import read_package
    from pi10_classifier.oscar.batch.batch import Batch, How
    from pi10_classifier.oscar.batch.in_flight import Patience
    from pi10_classifier.oscar.batch.options import Options
    from pi10_classifier.oscar.bucket import Bucket, store_of
    from pi10_classifier.oscar.reconcile.resubmit import JobEndpoint
    from pi10_classifier.oscar.records.settings import ServiceSettings

    if (relist or retry_failed) and not resume:
        raise SettingError("--relist and --retry-failed go with --resume")
    options = Options(workers, chunk, attempts=attempts, poll_s=poll_s,
                      patience=Patience(lost_s, start_s))  # fmt: skip
    said = service_of(service)
    settings = ServiceSettings.from_environ({**said.variables, **os.environ}).classify
    store = store_of(os.environ, remedy="run again with --resume", say=tell)
    with stoppable() as check:
        job = Batch(
            Bucket.of(store, source), Bucket.of(store, out), read_package(settings.model)[0],
            settings, How(resume, relist, retry_failed, report, cruise),
            say=lambda text: click.echo(text, err=True), check=check,
        )  # fmt: skip
        done = job.run(
            JobEndpoint(os.environ, said.name), _capacity(service), options,
            (lambda _: None) if as_json else _shown(),
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(done.to_json(), indent=2))
    else:
        _show(done.to_json(), out)
    sys.exit(done.exit_code)


def _capacity(service: str) -> Callable[[], int]:
    def ask() -> int:
        from pi10_classifier.oscar.services.capacity import Capacity, Need
        from pi10_classifier.oscar.services.cluster import Access, Cluster

        need = Need.of_service(service_of(service))
        try:
            cluster = Cluster(Access.find(os.environ))
        except SettingError as error:
            raise SettingError(f"{error.message}; or say how many: --workers") from error
        return need.workers(Capacity.of(cluster.status()))

    return ask


def _shown() -> Callable[[Reached], None]:
    """A line on stderr whenever something has changed."""
    from pi10_classifier.cli.terminal.console import counted

    last: tuple[int, ...] = ()

    def show(reached: Reached) -> None:
        nonlocal last
        now = (reached.units_done, reached.ranges, reached.images)
        if now == last:
            return
        last = now
        share = 100 * reached.bytes_done / reached.bytes if reached.bytes else 100.0
        parts = [
            f"{reached.units_done:,} of {reached.units:,} units ({share:.1f} %)",
            f"{counted(reached.ranges, 'range')} out",
        ]
        if reached.images:
            rate = reached.images / max(reached.seconds, 1e-9)
            parts.append(f"{reached.images:,} images, {rate:,.0f}/s")
        if reached.eta_s is not None and reached.units_done < reached.units:
            parts.append(f"{_span(reached.eta_s)} to go")
        if reached.lost:
            parts.append(f"{counted(reached.lost, 'range')} lost")
        if reached.failed:
            parts.append(f"{reached.failed} set aside")
        click.echo(", ".join(parts), err=True)

    return show


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _show(said: dict[str, object], out: str) -> None:
    from pi10_classifier.cli.terminal.console import show_table

    cruises = said["cruises"]
    assert isinstance(cruises, dict)  # noqa: S101  of our own making
    names = ("inputs", "results", "failures", "skipped")
    rows = [(name, *(f"{t.get(key, 0):,}" for key in names)) for name, t in cruises.items()]
    show_table("", ("cruise", *names), rows)
    since = said["since_the_listing"]
    assert isinstance(since, dict)  # noqa: S101
    if since["new_or_changed"]:
        click.echo(f"{since['new_or_changed']:,} units are new or changed since the listing: "
                   "run again with --resume --relist")  # fmt: skip
    if since["gone_or_changed"]:
        click.echo(f"{since['gone_or_changed']:,} listed units are gone or changed since")
    click.echo(f"results in {out}")
