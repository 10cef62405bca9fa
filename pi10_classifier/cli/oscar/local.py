"""The commands ``pi10 oscar local ...``: the services and their storage on one machine."""

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
    """Run everything on this machine: S3 with events, faas-supervisor and the services."""


@local.command()
@click.option("--home", type=FOLDER, default=Path("pi10-local"), show_default=True,
              help="Folder for objects, keys and logs; it is kept between runs.")  # fmt: skip
@click.option("--service", "services", multiple=True,
              default=("pi10-events", "pi10-sync", "pi10-batch", "pi10-retrain"),
              show_default=True,
              help="Service to run: its name or FDL file; may be repeated.")  # fmt: skip
@click.option("--model",
              help="Model package: a folder, the name of an embedded one, or models:/NAME@ALIAS,"
                   " which each job asks for.  [default: each service's own]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True,
              help="Number of jobs that run at a time.")  # fmt: skip
@click.option("--port", type=int, default=9911, show_default=True, help="Port of the endpoint.")
@click.option("--s3-port", type=int, default=9000, show_default=True,
              help="Port of the embedded S3 server.")  # fmt: skip
@click.option(
    "--s3",
    type=click.Choice(["embedded", "environment"]),
    default="embedded",
    show_default=True,
    help="S3 server to use: the embedded one, or 'environment' for the MinIO at AWS_ENDPOINT_URL.",
)
@click.option("--drop", type=float, default=0.0, show_default=True,
              help="Share of events to lose, 0 to 1, for tests.")  # fmt: skip
@click.option("--double", type=float, default=0.0, show_default=True,
              help="Share of events to deliver twice, 0 to 1, for tests.")  # fmt: skip
@click.option("--kill", type=float, default=0.0, show_default=True,
              help="Share of jobs to kill while they run, 0 to 1, for tests.")  # fmt: skip
@click.option(
    "--shuffle",
    type=int,
    default=1,
    show_default=True,
    help="Number of waiting events to draw the next one from; 1 keeps their order.",
)
@click.option("--seed", type=int, default=0, show_default=True,
              help="Random seed of --drop, --double, --kill and --shuffle.")  # fmt: skip
def up(home: Path, services: tuple[str, ...], model: str | None, jobs: int, port: int,
       s3_port: int, s3: str, **faults: Any) -> None:  # fmt: skip
    """Start everything; Ctrl-C stops it, and the objects stay in --home.

    \b
    Then, in another shell:
      . pi10-local/environment
      (upload a file to s3://pi10/in/ with any S3 client; results appear in s3://pi10/out/)
      pi10 oscar reconcile --grace 0
    """
    import time

    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.oscar.local import supervisor
    from pi10_classifier.oscar.local.faults import Faults
    from pi10_classifier.oscar.local.stack import environ_file
    from pi10_classifier.oscar.local.stack import local as run_local

    chosen = [_with_own_settings(service_of(name)) for name in services]
    if model:
        chosen = [_with_model(service, model) for service in chosen]
    if supervisor.installed() is None:
        click.echo("installing faas-supervisor (only once) …", err=True)
    with (
        stoppable() as raise_if_cancelled,
        run_local(home, chosen, parallel=jobs, faults=Faults(**faults), port=port,
                  s3_port=s3_port, existing_s3=os.environ if s3 == "environment" else None) as it,
        environ_file(it, home / "environment"),
    ):  # fmt: skip
        wide = max(len(service.name) for service in it.services)
        click.echo(f"{'S3':{wide}}  {it.storage.url}")
        for service in it.services:
            for source, target in zip(service.inputs, service.outputs, strict=False):
                click.echo(f"{service.name:{wide}}  upload to"
                           f" s3://{source.bucket}/{source.prefix}; results appear in"
                           f" s3://{target.bucket}/{target.prefix}")  # fmt: skip
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
            raise_if_cancelled()
            time.sleep(0.2)


@local.command()
def prepare() -> None:
    """Install faas-supervisor into its own environment, as `up` does when it is missing.

    The environment lies in the user's cache. To use another Python that has faas-supervisor,
    set PI10_SUPERVISOR_PYTHON.
    """
    from pi10_classifier.oscar.local import supervisor

    click.echo(supervisor.installed() or supervisor.install())


_OF_RETRAINING = ("MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "PI10_RETRAIN_", "PI10_MODEL_CACHE")


def _with_own_settings(service: Service) -> Service:
    """The service with the variables of MLflow and of retraining that are set here.

    A job gets no other variable of this environment. On a cluster they are in the FDL file.
    """
    from pi10_classifier.oscar.services.variants import with_variables

    if service.name != "pi10-retrain":
        return service
    own = {name: value for name, value in os.environ.items() if name.startswith(_OF_RETRAINING)}
    return with_variables(service, own)


def _with_model(service: Service, model: str) -> Service:
    from pi10_classifier.oscar.services.variants import with_variables
    from pi10_classifier.registry.cache import VARIABLE as CACHE
    from pi10_classifier.registry.cache import default_folder
    from pi10_classifier.registry.reference import ModelReference, is_reference
    from pi10_classifier.registry.resolve import find
    from pi10_classifier.registry.server import VARIABLES

    if is_reference(model):
        ModelReference.parse(model)
        # each job asks the registry itself, so a promotion holds from the next object on
        cache = {CACHE: str(default_folder(os.environ))}
        known = {key: os.environ[key] for key in VARIABLES if os.environ.get(key)}
        return with_variables(service, {"PI10_MODEL": model, **cache, **known})
    return with_variables(service, {"PI10_MODEL": str(find(model).resolve())})
