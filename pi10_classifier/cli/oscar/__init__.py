"""``pi10 oscar``: deploy services, close gaps, run it all on one machine."""

from __future__ import annotations

import click

from pi10_classifier.cli.oscar import batch, crate, deploy, local, reconcile


@click.group()
def oscar() -> None:
    """Buckets and events: OSCAR services, and the same path on one machine.

    \b
    Try it without a cluster:
      pi10 oscar local up
    """


for command in (
    local.local, deploy.deploy, deploy.delete, deploy.status, reconcile.reconcile,
    reconcile.retry_failed, batch.batch, crate.crate,
):  # fmt: skip
    oscar.add_command(command)
