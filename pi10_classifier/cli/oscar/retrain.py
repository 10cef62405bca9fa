"""The command ``pi10 oscar retrain``: from labels in a bucket to a candidate."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.cli.terminal.console import log
from pi10_classifier.errors import ExitCode, SettingError


@click.command()
@click.argument("source", required=False)
@click.option("--out", help="Output folder, s3://bucket/folder/.  [default: the service's]")
@click.option(
    "--service",
    default="pi10-retrain",
    show_default=True,
    help="Service whose settings are used, as its name or FDL file; it also gives SOURCE and --out"
    " if they are missing. The environment goes before its settings.",
)
@click.option(
    "--now", is_flag=True, help="Hold a round even if there are no new labels since the last one."
)
@click.option(
    "--event",
    is_flag=True,
    help="For the service's script: storage and folders come from faas-supervisor.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON instead of text.")
def retrain(
    source: str | None, out: str | None, service: str, now: bool, event: bool, as_json: bool
) -> None:
    """Answer labels in a bucket, and train and compare a candidate if enough of them are new.

    The service `pi10-retrain` does this at each event. Run the command for events that were lost,
    or without a cluster. Storage and keys come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, the champion from PI10_MODEL, limits from PI10_RETRAIN_MINUTES and
    others (docs/retraining.md), and MLflow from MLFLOW_TRACKING_URI.

    Nothing is promoted: a person does that with `pi10 models promote`.

    \b
    Exit codes:
      0  a round ended with a candidate, or none was due
      2  wrong usage or settings
      3  a round ended without a candidate

    \b
    Example:
      pi10 oscar retrain s3://pi10-labels/in/ --out s3://pi10-labels/out/
    """
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.model.package import read_package
    from pi10_classifier.oscar.bucket import Bucket, store_of
    from pi10_classifier.oscar.records.supervisor_storage import folders_of
    from pi10_classifier.registry.resolve import find
    from pi10_classifier.retraining.service import Retraining
    from pi10_classifier.retraining.settings import RetrainSettings

    environ = dict(os.environ)
    if event:
        labels, results = folders_of(environ)
    else:
        fdl = service_of(service)
        environ = {**fdl.variables, **environ}
        if len(fdl.inputs) != 1 or len(fdl.outputs) != 1:
            raise SettingError(f"service {fdl.name!r} needs one input and one output")
        store = store_of(environ, remedy="run it again", log=log)
        [default_in], [default_out] = fdl.inputs, fdl.outputs
        labels = Bucket.of(store, source) if source else Bucket(store, default_in)
        results = Bucket.of(store, out) if out else Bucket(store, default_out)
    if labels.place.holds(results.place):
        raise SettingError(f"{results} lies in {labels}; results there would be taken for labels")
    settings = RetrainSettings.from_environ(environ)
    if now:
        settings = replace(settings, limits=replace(settings.limits, new_labels=0))
    champion = read_package(find(settings.model, environ))[0]
    with (
        tempfile.TemporaryDirectory(prefix="pi10-retrain-") as folder,
        stoppable() as raise_if_cancelled,
    ):
        service_run = Retraining(
            labels, results, champion, settings, Path(folder), environ,
            emit=log, raise_if_cancelled=raise_if_cancelled,
        )  # fmt: skip
        status = service_run.run()
    if as_json:
        click.echo(json.dumps(status, indent=2))
    else:
        click.echo(f"{status['state']}: {status['reason']}")
    failed = status["state"] in ("no_candidate", "set_aside")
    sys.exit(ExitCode.SOME_FAILED if failed else ExitCode.OK)
