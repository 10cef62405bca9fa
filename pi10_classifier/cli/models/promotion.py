"""The commands ``pi10 models promote`` and ``rollback``: which version is in service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pi10_classifier.cli.models.registered import AS_JSON, BY, WHY
from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import (
    DATA,
    LABEL_MAP,
    MANIFEST,
    read_label_map,
    warn_of_other_split,
)
from pi10_classifier.errors import ModelError, SettingError

if TYPE_CHECKING:
    from pi10_classifier.packaging.champion_gate import Comparison
    from pi10_classifier.registry.champions import Change
    from pi10_classifier.registry.client import RegisteredModel


@click.command()
@click.argument("name")
@DATA
@LABEL_MAP
@MANIFEST
@click.option("--split", default="", help="Split of the test images.  [default: test, or all"
              " images without --manifest]")  # fmt: skip
@click.option("--out", required=True, type=FOLDER, help="Folder to write the comparison to.")
@click.option(
    "--candidate",
    default="candidate",
    show_default=True,
    metavar="ALIAS|VERSION",
    help="Version to promote: an alias, or a number.",
)
@click.option("--new-test", is_flag=True,
              help="Accept another test set than that of the promotions before.")  # fmt: skip
@click.option("--anyway", is_flag=True, help="Promote even if the rule refuses it.")
@WHY
@BY
@AS_JSON
def promote(
    name: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    split: str,
    out: Path,
    candidate: str,
    new_test: bool,
    anyway: bool,
    why: str,
    by: str,
    as_json: bool,
) -> None:
    """Compare the candidate of a model with its champion, and make it the champion.

    Both classify the same labelled images, and the difference of macro-F1 and of the F1 of each
    class is tested by a paired bootstrap. The candidate is refused if its macro-F1 is lower, if the
    F1 of a class is significantly lower, if it was fitted on test images, or if it predicts other
    classes; --anyway promotes it nevertheless, but none whose stored files are not those that were
    registered. All promotions of a model are held to the test
    images of the first one. Services that follow the alias then change to the new champion.

    comparison.json and comparison.md are written in any case.

    \b
    Example:
      pi10 models promote pi10 --data crops.tar --manifest run/manifest.csv --out compared
    """
    from pi10_classifier.model.session import Model
    from pi10_classifier.packaging.champion_gate import compare_models, write_comparison
    from pi10_classifier.registry import champions
    from pi10_classifier.registry.client import Registry
    from pi10_classifier.registry.reference import ModelReference
    from pi10_classifier.registry.resolve import fetched_anew, find

    registry = Registry.from_environ()
    version = registry.version(_reference(name, candidate))
    held = registry.with_alias(name, champions.CHAMPION)
    if held and held.version == version.version:
        raise SettingError(f"{version} is the champion of {name} already; register a newer one")
    # as the services will get it: what is cached here may be sound where the stored files are not
    new = Model.load(fetched_anew(str(ModelReference(name, version=version.version))))
    old = Model.load(find(str(ModelReference(name, version=held.version)))) if held else None
    warn_of_other_split(new.package, manifest)
    called = {"candidate": str(version)} | ({"champion": str(held)} if held else {})
    comparison = compare_models(
        old, new, inputs, label_map=read_label_map(label_map), manifest=manifest, split=split,
        names=called,
    )  # fmt: skip
    written = write_comparison(out, comparison)
    refusals = [*comparison.refusals, *_other_test(registry.model(name), comparison, new_test)]
    if refusals and not anyway:
        raise ModelError(
            f"{version} is not promoted: {'; '.join(refusals)} (report: {written[-1]});"
            " --anyway promotes it nevertheless"
        )
    change = champions.promote(
        registry, version, by=by, why=why, figures=comparison.figures(),
        instead_of=held.version if held else "",
    )  # fmt: skip
    _tell(change, comparison, written, as_json)


@click.command()
@click.argument("name")
@WHY
@BY
@AS_JSON
def rollback(name: str, why: str, by: str, as_json: bool) -> None:
    """Make the champion before the present one the champion again.

    Services that follow the alias change back. Each further call goes one champion further back.
    """
    from pi10_classifier.registry import champions
    from pi10_classifier.registry.client import Registry

    change = champions.rollback(Registry.from_environ(), name, by=by, why=why)
    if as_json:
        click.echo(json.dumps(change.to_dict(), indent=2))
    else:
        click.echo(f"champion of {name}: version {change.after} again, was {change.before}")


def _reference(name: str, candidate: str) -> Any:
    from pi10_classifier.registry.reference import ModelReference

    number = candidate.isascii() and candidate.isdigit()
    return ModelReference(name, **{"version" if number else "alias": candidate})


def _other_test(model: RegisteredModel, comparison: Comparison, new_test: bool) -> list[str]:
    from pi10_classifier.registry.champions import last_test_set

    before = last_test_set(model)
    if new_test or before in ("", comparison.test_sha256):
        return []
    return [
        f"these are not the test images of the promotions before ({comparison.test_sha256[:8]},"
        f" not {before[:8]}): give those, or --new-test"
    ]


def _tell(
    change: Change | None, comparison: Comparison, written: list[Path], as_json: bool
) -> None:
    if as_json:
        report = {"change": change.to_dict() if change else None, **comparison.to_dict()}
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(comparison.to_text())
    for path in written:
        click.echo(path)
    if change:
        was = f"was version {change.before}" if change.before else "the first one"
        click.echo(f"champion: {comparison.candidate} ({was})")
