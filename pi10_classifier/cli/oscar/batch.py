"""The command ``pi10 oscar batch``: classify a folder of a bucket with many workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.console import log
from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.oscar.batch.options import Reached


@click.command()
@click.argument("source")
@click.option("--out", required=True, help="Output folder in the same bucket, s3://bucket/folder/.")
@click.option(
    "--service",
    default="pi10-batch",
    show_default=True,
    help="Service that runs the workers: its name or FDL file.",
)
@click.option(
    "--workers",
    type=int,
    help="Number of workers at a time.  [default: as many as the cluster has room for]",
)
@click.option(
    "--chunk",
    type=int,
    help="Most units per range; a unit is an archive or a block of 1024 images.  [default: 1 to 64,"
    " fewer towards the end]",
)
@click.option(
    "--attempts",
    type=int,
    default=3,
    show_default=True,
    help="Number of lost ranges that began with the same unit before it is set aside.",
)
@click.option(
    "--cruise",
    default="",
    help="Put all results into one cruise of this name.  [default: one cruise per folder]",
)
@click.option("--resume", is_flag=True, help="Continue the batch in --out.")
@click.option(
    "--relist", is_flag=True, help="With --resume: list SOURCE again first, to find new inputs."
)
@click.option(
    "--retry-failed", is_flag=True, help="With --resume: retry the units that were set aside."
)
@click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Whether to write report.html for each cruise (needs the extra [report]).",
)
@click.option(
    "--poll",
    "poll_s",
    type=float,
    default=10.0,
    show_default=True,
    help="Seconds between two checks of the workers.",
)
@click.option(
    "--lost-after",
    "lost_s",
    type=float,
    default=180.0,
    show_default=True,
    help="Seconds after a worker's last heartbeat until its range counts as lost.",
)
@click.option(
    "--start-within",
    "start_s",
    type=float,
    default=900.0,
    show_default=True,
    help="Seconds that a worker may take to its first heartbeat before its range counts as lost.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON instead of text.")
def batch(source: str, out: str, service: str, workers: int | None, chunk: int | None,
          attempts: int, cruise: str, resume: bool, relist: bool, retry_failed: bool,
          report: bool, poll_s: float, lost_s: float, start_s: float,
          as_json: bool) -> None:  # fmt: skip
    """Classify all archives and images in a folder of a bucket with many workers.

    SOURCE is s3://bucket/folder/. The workers are jobs of a service that mounts the bucket; each
    gets a range of bins. The command may be killed at any moment: --resume continues, and
    published results are not computed again. Storage, cluster and model come from the
    environment, as for `reconcile`. Without --workers, the cluster is asked for its capacity,
    which needs OSCAR_USERNAME and OSCAR_PASSWORD, or OSCAR_TOKEN.

    \b
    Written into --out:
      predictions.parquet/cruise=C/date=D/  one data set, one part per bin
      tables/cruise=C/                      counts.csv, bins.csv, failures.csv, run.json, report

    \b
    Examples:
      pi10 oscar batch s3://pi10/rapid/ --out s3://pi10/results/rapid/
      pi10 oscar batch s3://pi10/rapid/ --out s3://pi10/results/rapid/ --resume
    """
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.model.package import read_package
    from pi10_classifier.oscar.batch.batch import Batch, BatchOptions
    from pi10_classifier.oscar.batch.in_flight import Patience
    from pi10_classifier.oscar.batch.options import Options
    from pi10_classifier.oscar.bucket import Bucket, store_of
    from pi10_classifier.oscar.reconcile.resubmit import JobEndpoint
    from pi10_classifier.oscar.records.settings import ServiceSettings

    if (relist or retry_failed) and not resume:
        raise SettingError("--relist and --retry-failed need --resume")
    options = Options(workers, chunk, attempts=attempts, poll_s=poll_s,
                      patience=Patience(lost_s, start_s))  # fmt: skip
    described = service_of(service)
    settings = ServiceSettings.from_environ({**described.variables, **os.environ}).classify
    store = store_of(os.environ, remedy="run again with --resume", log=log)
    with stoppable() as raise_if_cancelled:
        job = Batch(
            Bucket.of(store, source), Bucket.of(store, out),
            read_package(settings.model, settings.runtime.graph)[0],
            settings, BatchOptions(resume, relist, retry_failed, report, cruise),
            emit=lambda text: click.echo(text, err=True), raise_if_cancelled=raise_if_cancelled,
        )  # fmt: skip
        done = job.run(
            JobEndpoint(os.environ, described.name), _capacity(service), options,
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
            raise SettingError(
                f"{error.message}; or give the number of workers with --workers"
            ) from error
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
            f"{counted(reached.ranges, 'range')} in progress",
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


def _show(report: dict[str, object], out: str) -> None:
    from pi10_classifier.cli.terminal.console import show_table

    cruises = report["cruises"]
    assert isinstance(cruises, dict)  # noqa: S101  of our own making
    names = ("inputs", "results", "failures", "skipped")
    rows = [(name, *(f"{t.get(key, 0):,}" for key in names)) for name, t in cruises.items()]
    show_table("", ("cruise", *names), rows)
    since = report["since_the_listing"]
    assert isinstance(since, dict)  # noqa: S101
    if since["new_or_changed"]:
        click.echo(f"{since['new_or_changed']:,} units are new or have changed since the"
                   " listing: run again with --resume --relist")  # fmt: skip
    if since["gone_or_changed"]:
        click.echo(
            f"{since['gone_or_changed']:,} listed units are gone or have changed since the listing"
        )
    click.echo(f"results in {out}")
