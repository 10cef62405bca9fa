"""``pi10 oscar``: deploy services, close gaps, run it all on one machine. A face."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.cli.options import FOLDER
from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.oscar.reconcile.reconcile import Plan
    from pi10_classifier.oscar.services.fdl import Service

_MISSING = 'this needs {}; pip install "pi10-classifier[oscar]"'


@click.group()
def oscar() -> None:
    """Buckets and events: OSCAR services, and the same path on one machine.

    \b
    Try it without a cluster:
      pi10 oscar local up
    """


def tell(text: str) -> None:
    """A line on standard error."""
    click.echo(f"pi10: {text}", err=True)


def service_of(name: str) -> Service:
    """A service by name or FDL file, with a word on what is missing to read it."""
    try:
        from pi10_classifier.oscar.services.fdl import named

        return named(name)
    except ImportError as error:
        raise SettingError(_MISSING.format(error.name)) from error


@oscar.group()
def local() -> None:
    """The whole path on this machine: S3 with events, faas-supervisor, the services."""


@local.command()
@click.option("--home", type=FOLDER, default=Path("pi10-local"), show_default=True,
              help="Folder for objects, keys and logs; kept from one run to the next.")  # fmt: skip
@click.option("--service", "services", multiple=True,
              default=("pi10-events", "pi10-sync", "pi10-batch"), show_default=True,
              help="A service's name or FDL file; may be repeated.")  # fmt: skip
@click.option("--model", help="A model package, in place of the services' own.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True,
              help="Jobs that run at a time.")  # fmt: skip
@click.option("--port", type=int, default=9911, show_default=True, help="Of the endpoint.")
@click.option("--s3-port", type=int, default=9000, show_default=True, help="Of the S3 server.")
@click.option("--s3", type=click.Choice(["embedded", "environment"]), default="embedded",
              show_default=True, help="'environment': the MinIO of AWS_ENDPOINT_URL.")  # fmt: skip
@click.option("--drop", type=float, default=0.0, help="Share of events to lose, for trials.")
@click.option("--double", type=float, default=0.0, help="Share of events to deliver twice.")
@click.option("--kill", type=float, default=0.0, help="Share of jobs to kill in their course.")
@click.option("--shuffle", type=int, default=1, help="Draw the next of so many waiting events.")
@click.option("--seed", type=int, default=0, help="Of these misfortunes.")
def up(home: Path, services: tuple[str, ...], model: str | None, jobs: int, port: int,
       s3_port: int, s3: str, **faults: Any) -> None:  # fmt: skip
    """Bring it up; Ctrl-C takes it down, and objects stay in --home.

    \b
    Then, in another shell:
      . pi10-local/environment
      (put a file under s3://pi10/in/ with any S3 client, and look under s3://pi10/out/)
      pi10 oscar reconcile --grace 0
    """
    import time

    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.oscar.local import supervisor
    from pi10_classifier.oscar.local.faults import Faults
    from pi10_classifier.oscar.local.stack import environ_file
    from pi10_classifier.oscar.local.stack import local as run_local

    chosen = [service_of(name) for name in services]
    if model:
        chosen = [_with_model(service, model) for service in chosen]
    if supervisor.installed() is None:
        click.echo("installing faas-supervisor, once …", err=True)
    with (
        stoppable() as check,
        run_local(home, chosen, parallel=jobs, faults=Faults(**faults), port=port,
                  s3_port=s3_port, existing_s3=os.environ if s3 == "environment" else None) as it,
        environ_file(it, home / "environment"),
    ):  # fmt: skip
        wide = max(len(service.name) for service in it.services)
        click.echo(f"{'S3':{wide}}  {it.storage.url}")
        for service in it.services:
            for source, target in zip(service.inputs, service.outputs, strict=False):
                click.echo(f"{service.name:{wide}}  drop into "
                           f"s3://{source.bucket}/{source.prefix}, "
                           f"results in s3://{target.bucket}/{target.prefix}")  # fmt: skip
            if service.mount:
                click.echo(
                    f"{service.name:{wide}}  pi10 oscar batch s3://{service.mount.bucket}/FOLDER/ "
                    f"--out s3://{service.mount.bucket}/RESULTS/ --workers {jobs}"
                )
            elif not service.inputs:
                click.echo(f"{service.name:{wide}}  POST {it.endpoint}/run/{service.name}")
        click.echo(f"{'keys':{wide}}  . {home / 'environment'}")
        click.echo(f"{'logs':{wide}}  {home / 'logs'}")
        click.echo("ready; Ctrl-C stops it")
        while True:
            check()
            time.sleep(0.2)


@local.command()
def prepare() -> None:
    """Install faas-supervisor into an environment of its own, once; `up` does it as well.

    It goes into the user's cache; PI10_SUPERVISOR_PYTHON names another Python that has it.
    """
    from pi10_classifier.oscar.local import supervisor

    click.echo(supervisor.installed() or supervisor.install())


def _with_model(service: Service, model: str) -> Service:
    from pi10_classifier.model.package import find
    from pi10_classifier.oscar.services.variants import with_variables

    return with_variables(service, {"PI10_MODEL": str(find(model).resolve())})


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


@oscar.command()
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


@oscar.command("retry-failed")
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
    from pi10_classifier.cli.console import show_table
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
