"""The description of a data set fits its manifest. (mlcroissant is too large a test dependency.)"""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import crate_facts
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    members = {f"{'ab'[n % 2]}/{n}.tif": support.particle(n) for n in range(20)}
    return support.write_folder(tmp_path_factory.mktemp("croissant") / "crops", members)


def described(crops: Path, out: Path, *words: object) -> dict[str, Any]:
    done = CliRunner().invoke(pi10, ["dataset", str(crops), "--out", str(out), *map(str, words)])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads((out / "croissant.json").read_text("utf-8"))
    return found


def test_the_records_are_the_lines_of_the_manifest(crops: Path, tmp_path: Path) -> None:
    found = described(crops, tmp_path / "data")
    (file,) = found["distribution"]
    data = (tmp_path / "data" / file["contentUrl"]).read_bytes()
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert file["contentSize"] == f"{len(data)} B"
    rows = list(csv.DictReader(data.decode().splitlines()))
    sets = {record_set["@id"]: record_set for record_set in found["recordSet"]}
    fields = sets["images"]["field"]
    assert [field["source"]["extract"]["column"] for field in fields] == list(rows[0])
    assert {field["source"]["fileObject"]["@id"] for field in fields} == {file["@id"]}
    known = {field["@id"] for one in sets.values() for field in one["field"]}
    assert len(known) == sum(len(one["field"]) for one in sets.values())
    references = {field["name"]: field["references"]["field"]["@id"] for field in fields
                  if "references" in field}  # fmt: skip
    assert references == {"split": "splits/name", "group": "classes/name"}
    for column, target in references.items():
        assert target in known
        listed = {record[target] for record in sets[target.partition("/")[0]]["data"]}
        assert {row[column] for row in rows} <= listed
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert found["name"] == "crops"


def test_people_and_licence_come_from_the_facts(crops: Path, tmp_path: Path) -> None:
    toml = crate_facts.write_facts(tmp_path)
    found = described(crops, tmp_path / "data", "--about", toml)
    assert found["name"] == "Plankton off Plymouth & around"
    assert found["license"] == "http://creativecommons.org/licenses/by/4.0/legalcode"
    assert found["creator"] == [
        {"@type": "sc:Person", "name": "Josiah Carberry",
         "url": "https://orcid.org/0000-0002-1825-0097"}
    ]  # fmt: skip


def test_the_same_images_give_the_same_bytes(crops: Path, tmp_path: Path) -> None:
    texts = []
    for place in ("one", "two"):
        described(crops, tmp_path / place / "data")
        texts.append((tmp_path / place / "data/croissant.json").read_bytes())
    assert texts[0] == texts[1]
