"""The commands ``pi10 oscar reconcile`` and ``retry-failed``: close gaps in the records."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.console import log
from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.oscar.reconcile.options import ReconcileOptions


def _reconciling(function: Any) -> Any:
    """Add the options that `reconcile` and `retry-failed` share."""
    for decorate in reversed(
        (
            click.argument("source", required=False),
            click.option(
                "--out", help="Output folder, s3://bucket/folder/.  [default: the service's]"
            ),
            click.option(
                "--service",
                default="pi10-events",
                show_default=True,
                help="Service to submit to, as its name or FDL file; it also gives SOURCE and "
                "--out if they are missing.",
            ),
            click.option(
                "--in-place",
                is_flag=True,
                help="Classify in this process instead of submitting to the service.",
            ),
            click.option(
                "--grace",
                "grace_s",
                type=float,
                default=600.0,
                show_default=True,
                help="Seconds that an input without a record must be old before it is "
                "submitted; the event of a younger one may still arrive.",
            ),
            click.option(
                "--limit",
                type=int,
                default=10_000,
                show_default=True,
                help="Most inputs to submit.",
            ),
            click.option(
                "--jobs",
                "parallel",
                type=int,
                default=4,
                show_default=True,
                help="Number of submissions at a time, 1 to 64.",
            ),
            click.option("--dry-run", is_flag=True, help="Report only; submit and delete nothing."),
            click.option(
                "--scheduled",
                is_flag=True,
                help="For scheduled runs: exit code 3 only if inputs could not be submitted.",
            ),
            click.option(
                "--json", "as_json", is_flag=True, help="Print the report as JSON instead of text."
            ),
        )
    ):
        function = decorate(function)
    return function


@click.command()
@_reconciling
@click.option(
    "--attempts",
    type=int,
    default=3,
    show_default=True,
    help="Number of jobs that started an input and never ended before it is set aside.",
)
def reconcile(source: str | None, out: str | None, service: str, in_place: bool,
              scheduled: bool, as_json: bool, **plan: Any) -> None:  # fmt: skip
    """Find inputs without a record and submit them.

    The storage comes from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the
    service from OSCAR_ENDPOINT and OSCAR_SERVICE_TOKEN, and the model from PI10_MODEL, which
    must be that of the service. Run it every hour beside live events; to run it twice is
    harmless.

    It prints inputs = results + failures + skipped + gone + open. Open inputs have no record
    yet: they were just submitted, or their event may still arrive.

    \b
    Exit codes:
      0  every input has a result
      2  wrong usage or settings
      3  some inputs have a failure or are open
      4  SOURCE holds no objects

    \b
    Examples:
      pi10 oscar reconcile s3://pi10/in/ --out s3://pi10/out/
      pi10 oscar reconcile s3://archive/rapid/ --out s3://results/rapid/ --in-place
    """
    from pi10_classifier.oscar.reconcile.options import ReconcileOptions

    _reconcile(source, out, service, in_place, scheduled, as_json, ReconcileOptions(**plan))


@click.command("retry-failed")
@_reconciling
@click.option(
    "--code",
    "codes",
    multiple=True,
    help="Retry only failures with this code; may be repeated.  [default: all codes]",
)
def retry_failed(source: str | None, out: str | None, service: str, in_place: bool,
                 scheduled: bool, as_json: bool, **plan: Any) -> None:  # fmt: skip
    """Retry failed inputs, including those set aside; their records are deleted first.

    Failures are retried at any age. Inputs without a record are submitted as by `reconcile`;
    the totals and exit codes are also those of `reconcile`.

    \b
    Example:
      pi10 oscar retry-failed --code set_aside --limit 100
    """
    from pi10_classifier.oscar.reconcile.options import ReconcileOptions

    _reconcile(
        source, out, service, in_place, scheduled, as_json, ReconcileOptions(failed=True, **plan)
    )


def _reconcile(source: str | None, out: str | None, service: str, in_place: bool,
               scheduled: bool, as_json: bool, plan: ReconcileOptions) -> None:  # fmt: skip
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.oscar.bucket import Bucket, store_of
    from pi10_classifier.oscar.reconcile.reconcile import Reconciler
    from pi10_classifier.oscar.reconcile.resubmit import InPlace, JobEndpoint, Submitter
    from pi10_classifier.oscar.records.handler import Handler
    from pi10_classifier.oscar.records.settings import ServiceSettings

    name = service
    if not (source and out):
        described = service_of(service)
        if not (described.inputs and described.outputs):
            raise SettingError(f"{service} has no input and output; give SOURCE and --out")
        name = described.name
        source = source or f"s3://{described.inputs[0].bucket}/{described.inputs[0].prefix}"
        out = out or f"s3://{described.outputs[0].bucket}/{described.outputs[0].prefix}"
    store = store_of(os.environ, remedy="check AWS_ENDPOINT_URL, and run again", log=log)
    target = Bucket.of(store, out)
    handler = Handler(ServiceSettings.from_environ(os.environ))
    with stoppable() as raise_if_cancelled:
        submitter: Submitter = (
            InPlace(handler, target, raise_if_cancelled)
            if in_place
            else JobEndpoint(os.environ, name)
        )
        report = Reconciler(
            Bucket.of(store, source), target, handler.package, handler.identity, submitter, plan,
            raise_if_cancelled,
        ).run()  # fmt: skip
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        rows = [(what, f"{count:,}") for what, count in report.to_json()["totals"].items()]
        show_table("", ("what", "objects"), rows)
        click.echo("inputs = results + failures + skipped + gone + open")
        for what, keys in report.to_json()["examples"].items():
            if what == "failures":
                click.echo("\n  ".join(("failures:", *keys)))
            else:
                click.echo(f"{what}: {', '.join(keys[:5])}")
    if not report.counts["inputs"]:
        log(f"{source} holds no objects; check the address")
    sys.exit(report.exit_code(scheduled=scheduled))
