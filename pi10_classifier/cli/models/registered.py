"""The commands ``pi10 models list``, ``show`` and ``register``: what a registry holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.errors import SettingError

if TYPE_CHECKING:
    from pi10_classifier.registry.client import ModelVersion

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
WHY = click.option(
    "--why", default="", metavar="TEXT", help="Reason, for the record.  [default: none]"
)
BY = click.option(
    "--by", default="", metavar="NAME", help="Who does it, for the record.  [default: login name]"
)


@click.command("list")
@AS_JSON
def list_registered(as_json: bool) -> None:
    """List the models of the registry, with the versions that hold an alias.

    `pi10 models`, without `list`, lists the packages that ship with the program.
    """
    from pi10_classifier.registry.client import Registry

    try:
        registry = Registry.from_environ()
    except SettingError as error:
        raise SettingError(f"{error}; what ships with the program: pi10 models") from error
    models = registry.models()
    if as_json:
        entries = [{"name": model.name, "aliases": dict(model.aliases)} for model in models]
        click.echo(json.dumps(entries, indent=2))
        return
    for model in models:
        held = (f"{alias} is version {v}" for alias, v in sorted(model.aliases.items()))
        click.echo(f"{model.name}: {', '.join(held) or 'no version has an alias'}")
    if not models:
        click.echo("the registry holds no model; `pi10 models register` adds one", err=True)


@click.command()
@click.argument("name")
@AS_JSON
def show(name: str, as_json: bool) -> None:
    """Show the versions of a registered model, and who made which one the champion, and why."""
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.registry.champions import changes_of
    from pi10_classifier.registry.client import Registry

    registry = Registry.from_environ()
    versions, changes = registry.versions(name), changes_of(registry.model(name))
    if as_json:
        entries: dict[str, Any] = {
            "name": name,
            "versions": [_entry(version) for version in versions],
            "changes": [change.to_dict() for change in changes],
        }
        click.echo(json.dumps(entries, indent=2))
        return
    rows = [
        (v.version, ", ".join(v.aliases), v.tags.get("pi10.package", ""), v.digest[:8], _day(v),
         v.tags.get("pi10.validation_macro_f1", "")[:6], v.tags.get("pi10.registered_why", ""))
        for v in versions
    ]  # fmt: skip
    header = ("version", "alias", "package", "its hash", "registered", "validation F1", "why")
    show_table("", header, rows)
    if changes:
        show_table("", ("when", "what", "from", "to", "by", "why"), [c.cells() for c in changes])


@click.command()
@click.argument("package", metavar="PACKAGE")
@click.option("--name", required=True, help="Name of the registered model; made if new.")
@click.option(
    "--alias",
    default="candidate",
    show_default=True,
    help="Alias that the version gets; '' for none. `champion` is given by `promote`.",
)
@WHY
@BY
@AS_JSON
def register(package: str, name: str, alias: str, why: str, by: str, as_json: bool) -> None:
    """Verify a model package, and register it as a version of a model.

    PACKAGE is a folder or the name of an embedded package. The same package is one version, however
    often it is registered.
    """
    from pi10_classifier.registry.champions import check_free_alias
    from pi10_classifier.registry.client import Registry
    from pi10_classifier.registry.register import register as run_register
    from pi10_classifier.registry.resolve import find

    check_free_alias(alias)
    version = run_register(
        Registry.from_environ(), name, Path(find(package)), alias=alias, why=why, by=by
    )
    if as_json:
        click.echo(json.dumps(_entry(version), indent=2))
    else:
        held = f", which is now {alias}" if alias else ""
        click.echo(f"{package} is models:/{name}/{version.version}{held}")


def _day(version: ModelVersion) -> str:
    return f"{datetime.fromtimestamp(version.created / 1000, UTC):%Y-%m-%d %H:%M}"


def _entry(version: ModelVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "package_sha256": version.digest,
        "created": _day(version),
        "run_id": version.run_id,
        "tags": dict(version.tags),
    }
