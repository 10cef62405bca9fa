"""``pi10 models``: the packages that are installed, and those of a registry."""

from __future__ import annotations

import click

from pi10_classifier.cli.models import installed, promotion, registered
from pi10_classifier.cli.models.installed import list_installed


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the full descriptions as JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """Models: those that ship with the program, and those of a registry.

    Without a command it lists the packages that ship with the program, one per line; --json prints
    all their figures. `pi10 models list` lists those of the registry.

    The commands below work on the registry at MLFLOW_TRACKING_URI. A registered model can be given
    wherever a package can: --model models:/NAME@champion, or models:/NAME/3 for version 3.

    \b
    The way of a new model into service:
      pi10 models register run/package --name pi10
      pi10 models promote pi10 --data labelled/ --manifest run/manifest.csv --out compared
      pi10 models rollback pi10 --why "calls bubbles copepods"
    """
    if context.invoked_subcommand is None:
        list_installed(as_json)


for command in (
    registered.list_registered, registered.show, registered.register, promotion.promote,
    promotion.rollback,
):  # fmt: skip
    models.add_command(command)

__all__ = ["installed", "models"]
