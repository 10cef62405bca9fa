"""``pi10 oscar local``: the whole path on one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.options import FOLDER

if TYPE_CHECKING:
    from pi10_classifier.oscar.services.fdl import Service


@click.group()
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
