"""The commands ``pi10 oscar ...``: services, buckets and batches on OSCAR."""

from __future__ import annotations

import click

from pi10_classifier.cli.oscar import batch, crate, deploy, local, reconcile, retrain


@click.group()
def oscar() -> None:
    """Run on OSCAR: services, buckets and batches, on a cluster or on one machine.

    \b
    To try it without a cluster:
      pi10 oscar local up
    """


for command in (
    local.local, deploy.deploy, deploy.delete, deploy.status, reconcile.reconcile,
    reconcile.retry_failed, batch.batch, retrain.retrain, crate.crate,
):  # fmt: skip
    oscar.add_command(command)
