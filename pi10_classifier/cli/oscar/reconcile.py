"""``pi10 oscar reconcile`` and ``retry-failed``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.console import tell
from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.oscar.reconcile.reconcile import Plan


def _reconciling(function: Any) -> Any:
    """The arguments of `reconcile` and `retry-failed`."""
    for decorate in reversed(
        (
            click.argument("source", required=False),
            click.option("--out", help="Output folder, s3://bucket/folder/."),
            click.option("--service", default="pi10-events", show_default=True,
                         help="A service's name or FDL file: where to submit, and SOURCE and "
                              "--out where not given."),
            click.option("--in-place", is_flag=True,
                         help="Classify here, in this process, without the service."),
            click.option("--grace", "grace_s", type=float, default=600.0, show_default=True,
                         help="Leave inputs without a record alone that are younger than so "
                              "many seconds: their event may be under way."),
            click.option("--limit", type=int, default=10_000, show_default=True,
                         help="Submit so many at the most."),
            click.option("--jobs", "parallel", type=int, default=4, show_default=True,
                         help="Submissions at a time."),
            click.option("--dry-run", is_flag=True, help="Find, report, do nothing."),
            click.option("--scheduled", is_flag=True,
                         help="For runs by the clock: exit code 3 only where inputs could not be "
                              "submitted."),
            click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
        )
    ):  # fmt: skip
        function = decorate(function)
    return function


@click.command()
@_reconciling
@click.option("--attempts", type=int, default=3, show_default=True,
              help="Set an input aside after so many jobs that began and never ended.")  # fmt: skip
def reconcile(source: str | None, out: str | None, service: str, in_place: bool,
              scheduled: bool, as_json: bool, **plan: Any) -> None:  # fmt: skip
    """Find inputs without a record, and have them done.

    Storage and keys come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
    the service from OSCAR_ENDPOINT and OSCAR_SERVICE_TOKEN, the model from PI10_MODEL as the
    service has it. Run it by the hour beside live events; it does no harm when run twice.

    It prints inputs = results + failures + skipped + gone + open; open inputs have no record
    yet, for they were submitted just now or wait for their event.

    \b
    Exit codes: 0 all inputs have a result; 2 wrong usage or settings;
    3 some have a failure or are open; 4 SOURCE holds no objects.

    \b
    Examples:
      pi10 oscar reconcile s3://pi10/in/ --out s3://pi10/out/
      pi10 oscar reconcile s3://archive/rapid/ --out s3://results/rapid/ --in-place
    """
    from pi10_classifier.oscar.reconcile.reconcile import Plan

    _reconcile(source, out, service, in_place, scheduled, as_json, Plan(**plan))


@click.command("retry-failed")
@_reconciling
@click.option("--code", "codes", multiple=True, help="Only failures of this code.")
def retry_failed(source: str | None, out: str | None, service: str, in_place: bool,
                 scheduled: bool, as_json: bool, **plan: Any) -> None:  # fmt: skip
    """Have failures done again, set-aside inputs too: their records are deleted first.

    Failures are tried again whatever their age. Inputs without a record are submitted as by
    `reconcile`, whose totals and exit codes these are.

    \b
    Example:
      pi10 oscar retry-failed --code set_aside --limit 100
    """
    from pi10_classifier.oscar.reconcile.reconcile import Plan

    _reconcile(source, out, service, in_place, scheduled, as_json, Plan(failed=True, **plan))


def _reconcile(source: str | None, out: str | None, service: str, in_place: bool,
               scheduled: bool, as_json: bool, plan: Plan) -> None:  # fmt: skip
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.oscar.bucket import Bucket, store_of
    from pi10_classifier.oscar.reconcile.reconcile import Reconciler
    from pi10_classifier.oscar.reconcile.resubmit import InPlace, JobEndpoint, Submitter
    from pi10_classifier.oscar.records.handler import Handler
    from pi10_classifier.oscar.records.settings import ServiceSettings

    name = service
    if not (source and out):
        said = service_of(service)
        if not (said.inputs and said.outputs):
            raise SettingError(f"{service} has no input and output; give SOURCE and --out")
        name = said.name
        source = source or f"s3://{said.inputs[0].bucket}/{said.inputs[0].prefix}"
        out = out or f"s3://{said.outputs[0].bucket}/{said.outputs[0].prefix}"
    store = store_of(os.environ, remedy="check AWS_ENDPOINT_URL, and run again", say=tell)
    target = Bucket.of(store, out)
    handler = Handler(ServiceSettings.from_environ(os.environ))
    with stoppable() as check:
        submitter: Submitter = (
            InPlace(handler, target, check) if in_place else JobEndpoint(os.environ, name)
        )
        report = Reconciler(
            Bucket.of(store, source), target, handler.package, handler.identity, submitter, plan,
            check,
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
        tell(f"{source} holds no objects; check the address")
    sys.exit(report.exit_code(scheduled=scheduled))
