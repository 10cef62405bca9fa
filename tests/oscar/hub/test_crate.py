"""Crates of the OSCAR Hub: whole by a strict check of our own, and by roc-validator where it is.

roc-validator 0.13.0 has its own pins (rich 13), so it needs an environment of its own, and it
fetches RO-Crate's context from w3id.org: PI10_ROC_VALIDATOR names its `rocrate-validator`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.hub.crate import METADATA, write_crate
from pi10_classifier.oscar.services.fdl import SERVICES, folder, named, read_fdl

ROOT = Path(__file__).parents[3]
DAY = date(2026, 11, 21)
# what the Hub asks of the root, and RO-Crate 1.2 besides
ROOT_HAS = ("name", "description", "serviceType", "license", "author", "url", "datePublished",
            "hasPart", "version", "logo")  # fmt: skip
SERVICE_TYPES = {"asynchronous", "synchronous", "exposed"}


def problems(crate: Path) -> Iterator[str]:
    """What is wrong with a crate, by RO-Crate 1.2 and the Hub's rules."""
    said = json.loads((crate / METADATA).read_text("utf-8"))
    if said["@context"] != "https://w3id.org/ro/crate/1.2/context":
        yield "context"
    by_id = {entity["@id"]: entity for entity in said["@graph"]}
    if len(by_id) != len(said["@graph"]):
        yield "an entity is told twice"
    about = by_id[METADATA]
    if about.get("conformsTo") != {"@id": "https://w3id.org/ro/crate/1.2"}:
        yield "conformsTo"
    root = by_id[about["about"]["@id"]]
    yield from (f"the root has no {name}" for name in ROOT_HAS if not root.get(name))
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", root.get("datePublished", "")):
        yield "datePublished"
    kinds = root.get("serviceType", [])
    if not set([kinds] if isinstance(kinds, str) else kinds) <= SERVICE_TYPES:
        yield "serviceType"
    parts = {part["@id"] for part in root.get("hasPart", ())}
    there = {path.name for path in crate.iterdir()} - {METADATA}
    yield from (f"{name} is told of or there, not both" for name in parts ^ there)
    yield from (f"{name} is missing" for name in {"fdl.yml", "script.sh", "icon.png"} - there)
    for entity in said["@graph"]:
        if "@type" not in entity or not entity.get("name", entity is about):
            yield f"{entity['@id']} has no type or name"
        yield from (
            f"{entity['@id']} refers to {target}, which is not described"
            for target in references(entity)
            if target not in by_id and target != "https://w3id.org/ro/crate/1.2"
        )
        if "File" in entity["@type"]:
            if "contentSize" not in entity or "encodingFormat" not in entity:
                yield f"{entity['@id']} has no size or format"
            path = crate / entity["@id"]
            if path.is_file() and str(path.stat().st_size) != entity.get("contentSize"):
                yield f"{entity['@id']} has another size"


def references(value: Any) -> Iterator[str]:
    """All identifiers that an entity points at."""
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        else:
            for inner in value.values():
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("name", SERVICES)
def test_a_crate_is_whole(name: str, tmp_path: Path) -> None:
    crate = write_crate(name, tmp_path, DAY)
    assert list(problems(crate)) == []
    again = write_crate(name, tmp_path / "again", DAY)
    assert [p.read_bytes() for p in sorted(crate.iterdir())] == [
        p.read_bytes() for p in sorted(again.iterdir())
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_it_deploys_what_deploy_deploys(name: str, tmp_path: Path) -> None:
    crate = write_crate(name, tmp_path, DAY)
    [service] = read_fdl(crate / "fdl.yml")
    assert service.to_api("4.1") == named(name).to_api("4.1")
    ours = (folder() / f"{name}.yaml").read_text("utf-8").splitlines()
    theirs = (crate / "fdl.yml").read_text("utf-8").splitlines()
    assert [line for line in theirs if "script:" not in line] == [
        line for line in ours if "script:" not in line
    ]


def _entity(said: dict[str, Any], id_: str) -> dict[str, Any]:
    [found] = (entity for entity in said["@graph"] if entity["@id"] == id_)
    return found


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda said: _entity(said, "./").pop("license"), "the root has no license"),
        (lambda said: _entity(said, "./").update(serviceType="batch"), "serviceType"),
        (lambda said: _entity(said, "./").update(datePublished="today"), "datePublished"),
        (lambda said: _entity(said, "./")["hasPart"].pop(), "README.md is told of or there"),
        (lambda said: _entity(said, "fdl.yml").update(contentSize="1"), "another size"),
        (lambda said: said["@graph"].pop(), "which is not described"),
        (lambda said: said.update({"@context": "x"}), "context"),
    ],
)
def test_the_check_finds_what_is_wrong(
    spoil: Callable[[dict[str, Any]], object], problem: str, tmp_path: Path
) -> None:
    crate = write_crate("pi10-events", tmp_path, DAY)
    said = json.loads((crate / METADATA).read_text("utf-8"))
    spoil(said)
    (crate / METADATA).write_text(json.dumps(said), "utf-8")
    assert [found for found in problems(crate) if problem in found]


def test_it_says_what_the_rest_of_the_tree_says(tmp_path: Path) -> None:
    said = json.loads((write_crate("pi10-api", tmp_path, DAY) / METADATA).read_text("utf-8"))
    codemeta = json.loads((ROOT / "codemeta.json").read_text("utf-8"))
    root, api = _entity(said, "./"), named("pi10-api")
    assert root["keywords"] == codemeta["keywords"]
    assert root["license"] == {"@id": codemeta["license"]}
    assert (root["url"], root["version"]) == (codemeta["codeRepository"], codemeta["version"])
    assert _entity(said, root["author"]["@id"])["name"] == codemeta["author"][0]["name"]
    assert root["memoryRequirements"] == api.fdl["memory"]
    assert root["processorRequirements"] == [f"{api.fdl['cpu']} CPU", "0 GPU"]
    assert root["serviceType"] == "exposed"


def test_the_icon_is_a_square(tmp_path: Path) -> None:
    picture = cv2.imread(str(write_crate("pi10-sync", tmp_path, DAY) / "icon.png"), -1)
    assert picture is not None
    assert picture.shape == (256, 256, 4)


def test_the_command_writes_them_all_and_spares_a_strangers_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        pi10, ["oscar", "crate", "--out", str(tmp_path), "--published", "2026-11-21"]
    )
    assert done.output.split() == [str(tmp_path / name) for name in SERVICES]
    said = yaml.safe_load((tmp_path / "pi10-api" / "fdl.yml").read_text())
    assert said["functions"]["oscar"][0]["oscar-cluster"]["script"] == "script.sh"
    (tmp_path / "pi10-api" / "thesis.tex").touch()
    with pytest.raises(SettingError, match=r"also holds 'thesis\.tex'"):
        write_crate("pi10-api", tmp_path, DAY)
    with pytest.raises(SettingError, match="no service 'x'"):
        write_crate("x", tmp_path, DAY)


@pytest.mark.parametrize("name", SERVICES)
def test_roc_validator_takes_it(name: str, tmp_path: Path) -> None:
    program = os.environ.get("PI10_ROC_VALIDATOR")
    if not program:
        pytest.skip("PI10_ROC_VALIDATOR names no `rocrate-validator`")
    crate = write_crate(name, tmp_path, DAY)
    done = subprocess.run(
        [program, "validate", "-p", "ro-crate-1.2", "--no-paging", "--verbose", crate],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
