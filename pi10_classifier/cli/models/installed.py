"""The commands ``pi10 models`` and ``pi10 doctor``: what is installed, and whether it works."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from pi10_classifier.errors import ExitCode

if TYPE_CHECKING:
    from pi10_classifier.model.package import Package


def list_installed(as_json: bool) -> None:
    """Print the embedded packages, a line each, or all their figures as JSON."""
    from pi10_classifier.model.package import installed, read_package

    packages = [read_package(folder)[0] for folder in installed()]
    if as_json:
        click.echo(json.dumps([package.description for package in packages], indent=2))
        return
    for package in packages:
        summary = package.description.get("summary") or _summary(package)
        click.echo(f"{package.name} {package.version}: {', '.join(package.classes)}; {summary}")
    click.echo("these ship with the program; those of a registry: pi10 models list", err=True)


def _summary(package: Package) -> str:
    """Of a package that brings none: its input, and its figures on withheld images."""
    figures = [
        f"{source} {metrics['macro_f1']['value']:.2f}"
        for source, metrics in package.description.get("metrics", {}).items()
        if isinstance(metrics, dict) and "macro_f1" in metrics
    ]
    scores = f"macro-F1 on withheld images: {', '.join(figures)}" if figures else "never judged"
    return f"{package.preprocessing.size} px, {scores}"


@click.command()
@click.option(
    "--model",
    default="",
    help="Model package, a folder or an embedded one, whose speed is measured on each runtime that"
    " is installed; takes seconds.  [default: none]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the findings as JSON instead of a table."
)
def doctor(model: str, as_json: bool) -> None:
    """Check this installation: packages, models, devices, settings.

    With --model it measures the bare network at the batch that `classify` uses, one caller per
    core, and recommends a --device. Decoding and measuring come on top.
    """
    from dataclasses import asdict

    from pi10_classifier.cli.terminal.console import counter, is_terminal, show_table
    from pi10_classifier.doctor import examine

    shown = is_terminal() and not as_json
    checks = list(examine(model=model, progress=counter("rounds", verb="measured", shown=shown)))
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        show_table("", ("", "what", "finding"), [(c.state, c.what, c.finding) for c in checks])
    sys.exit(ExitCode.USAGE if any(check.state == "broken" for check in checks) else ExitCode.OK)
