"""Crates of real runs: whole, described as the profile asks, and never half written."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import crate_facts
import pyarrow.parquet as pq
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.export.crate.writer import write_crate
from pi10_classifier.export.dataset_facts import DatasetFacts, read_facts
from pi10_classifier.inference.settings import Settings
from pi10_classifier.sizes.tables import TABLES as SIZES
from pi10_classifier.sizes.tables import SizeOptions, write_sizes
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import join

DAY = date(2026, 11, 29)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> DatasetFacts:
    return read_facts(crate_facts.write_facts(tmp_path_factory.mktemp("facts")))


@pytest.fixture(scope="module")
def run(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three archives and a folder, with labels beside it and files that are none of it."""
    out = tmp_path_factory.mktemp("crate") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    (out / "validation/crops").mkdir(parents=True)
    (out / "validation/labels.csv").write_text("particle_id,label\n", "utf-8")
    (out / "validation/tasks.json").write_text("[]", "utf-8")
    (out / "my notes.txt").write_text("not to be published", "utf-8")
    return out


@pytest.fixture(scope="module")
def many(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of more archives than a Zenodo record takes files."""
    home = tmp_path_factory.mktemp("many")
    for number in range(104):
        begin = support.START + timedelta(minutes=10 * number)
        support.write_tar(
            home / f"bins/{begin:%Y-%m-%d}/{begin:%H%M}.tar",
            {support.name_of(0, begin): support.particle(number, begin)},
        )
    classify([str(home / "bins")], home / "out", Settings(model=package, jobs=2))
    return home / "out"


def graph_of(folder: Path) -> dict[str, dict[str, Any]]:
    described = json.loads((folder / "ro-crate-metadata.json").read_text("utf-8"))
    entities = described["@graph"]
    by_id = {entity["@id"]: entity for entity in entities}
    assert len(by_id) == len(entities)
    return by_id


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def links(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        else:
            for inner in value.values():
                yield from links(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from links(inner)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_holds_the_run_and_the_hashes_of_its_files(
    run: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    done = write_crate(run, tmp_path / "crate", facts, DAY)
    held = contents(tmp_path / "crate")
    graph = graph_of(tmp_path / "crate")
    own = {"ro-crate-metadata.json", "ro-crate-preview.html"}
    described = {name for name, entity in graph.items() if entity["@type"] == "File"}
    assert described == set(held) - own
    for name in described:
        assert held[name] == (run / name).read_bytes()
        assert graph[name]["sha256"] == hashlib.sha256(held[name]).hexdigest()
        assert graph[name]["contentSize"] == str(len(held[name]))
    parts = {f"predictions.parquet/{path.name}" for path in run.glob("predictions.parquet/*")}
    assert described >= {*parts, "bins.csv", "counts.csv", "run.json", "validation/labels.csv"}
    assert set(done.left_out) == {
        "journal", "my notes.txt", "validation/crops", "validation/tasks.json",
    }  # fmt: skip
    assert any("labels.csv" in warning for warning in done.warnings)
    rows = pq.read_table(tmp_path / "crate/predictions.parquet").num_rows
    assert rows == json.loads(held["run.json"])["totals"]["results"]


def test_the_run_is_described_as_the_profile_asks(
    run: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    write_crate(run, tmp_path / "crate", facts, DAY)
    graph = graph_of(tmp_path / "crate")
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert descriptor["about"] == {"@id": "./"}
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert root["datePublished"] == "2026-11-29"
    assert root["name"] == facts.title
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert root["author"] == {"@id": "https://orcid.org/0000-0002-1825-0097"}
    for entity in graph.values():
        for target in links(entity):
            assert target in graph or target == "https://w3id.org/ro/crate/1.1", target
    (action,) = (entity for entity in graph.values() if entity["@type"] == "CreateAction")
    assert root["mentions"] == {"@id": action["@id"]}
    software = graph[action["instrument"]["@id"]]
    assert software["@type"] == "SoftwareApplication"
    info = json.loads((run / "run.json").read_text("utf-8"))
    assert software["version"] == info["versions"]["pi10-classifier"]
    assert graph[action["agent"]["@id"]]["name"] == facts.institution
    for key, name in (("startTime", "started"), ("endTime", "finished")):
        assert datetime.fromisoformat(action[key]) == datetime.fromisoformat(info[name])
        assert action[key].endswith("+00:00")
    results = set(links(action["result"]))
    assert results >= {"predictions.parquet/", "bins.csv", "run.json"}
    assert "validation/" not in results
    made_from = [graph[target] for target in links(action["object"])]
    models = [entity for entity in made_from if "sha256" in entity]
    assert [entity["sha256"] for entity in models] == [info["model"]["sha256"]]


def test_inputs_are_named_and_not_copied(
    run: Path, cruise: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    write_crate(run, tmp_path / "crate", facts, DAY)
    inputs = {
        entity["name"]: entity
        for name, entity in graph_of(tmp_path / "crate").items()
        if name.startswith("#input-")
    }
    archives = {str(path): str(path.stat().st_size) for path in cruise.rglob("*.tar")}
    assert {name: inputs[name].get("contentSize") for name in archives} == archives
    assert set(inputs) - set(archives) == {str(cruise / "loose")}
    assert not list((tmp_path / "crate").rglob("*.tar"))


def test_the_preview_shows_all_and_runs_nothing(
    package: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    support.write_folder(tmp_path / hostile, {"1.tif": support.particle(1)})
    classify([str(tmp_path / hostile)], tmp_path / "run", Settings(model=package, jobs=1))
    named = replace(facts, title="<script>alert(1)</script>")
    write_crate(tmp_path / "run", tmp_path / "crate", named, DAY)
    text = (tmp_path / "crate/ro-crate-preview.html").read_text("utf-8")
    assert "<img" not in text
    assert "<script" not in text
    assert html.escape(hostile) in text
    assert html.escape(named.title) in text
    for name, entity in graph_of(tmp_path / "crate").items():
        if entity["@type"] == "File":
            assert f'<a href="{name}">' in text
            assert entity["sha256"] in text
    assert "Josiah Carberry" in text


def test_a_run_without_its_journal_names_what_was_asked(
    run: Path, cruise: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/journal")
    write_crate(tmp_path / "run", tmp_path / "crate", facts, DAY)
    graph = graph_of(tmp_path / "crate")
    assert [graph[name]["name"] for name in graph if name.startswith("#input-")] == [str(cruise)]


def test_a_zip_is_the_folder_and_the_same_bytes_each_time(
    run: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    write_crate(run, tmp_path / "crate", facts, DAY)
    write_crate(run, tmp_path / "one.zip", facts, DAY)
    write_crate(run, tmp_path / "two.zip", facts, DAY)
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        stored = {i.filename for i in archive.infolist() if i.compress_type == zipfile.ZIP_STORED}
    assert members == contents(tmp_path / "crate")
    assert stored == {name for name in members if name.endswith(".parquet")}
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_record_has_few_files_and_loses_none(
    many: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    # packs of one byte: as many as there are parts, were there no limit
    done = write_crate(many, tmp_path / "record", facts, DAY, zenodo=True, pack_bytes=1)
    written = sorted(path.name for path in (tmp_path / "record").iterdir())
    assert all((tmp_path / "record" / name).is_file() for name in written)
    assert len(written) == done.written <= 100
    packs = [name for name in written if name.endswith(".zip")]
    assert len(packs) > 10
    for name in packs:
        with zipfile.ZipFile(tmp_path / "record" / name) as archive:
            archive.extractall(tmp_path / "unpacked")
    parts = {path.name: path.read_bytes() for path in (many / "predictions.parquet").iterdir()}
    unpacked = (tmp_path / "unpacked/predictions.parquet").iterdir()
    assert len(parts) == 104
    assert {path.name: path.read_bytes() for path in unpacked} == parts

    rows = list(csv.DictReader(io.StringIO((tmp_path / "record/files.csv").read_text("utf-8"))))
    assert {row["member"] for row in rows} == {
        *(f"predictions.parquet/{name}" for name in parts),
        *("run.json", "counts.csv", "bins.csv", "failures.csv"),
    }
    for row in rows:
        if row["file"].endswith(".zip"):
            with zipfile.ZipFile(tmp_path / "record" / row["file"]) as archive:
                data = archive.read(row["member"])
        else:
            data = (tmp_path / "record" / row["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (int(row["bytes"]), row["sha256"])
    graph = graph_of(tmp_path / "record")
    for name in packs:
        data = (tmp_path / "record" / name).read_bytes()
        assert graph[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert {"@id": name} in listed(graph["#run"]["result"])


def test_a_record_of_one_pack_keeps_the_validation_apart(
    run: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    write_crate(run, tmp_path / "record", facts, DAY, zenodo=True)
    written = {path.name for path in (tmp_path / "record").iterdir()}
    assert written >= {"predictions.parquet.zip", "validation.zip", "zenodo.json", "files.csv"}
    graph = graph_of(tmp_path / "record")
    assert {"@id": "validation.zip"} not in graph["#run"]["result"]


def test_the_metadata_of_the_deposit(run: Path, facts: DatasetFacts, tmp_path: Path) -> None:
    write_crate(run, tmp_path / "record", facts, DAY, zenodo=True)
    deposit = json.loads((tmp_path / "record/zenodo.json").read_text("utf-8"))["metadata"]
    assert deposit["upload_type"] == "dataset"
    assert deposit["publication_date"] == "2026-11-29"
    assert deposit["access_right"] == "open"
    assert deposit["license"] == "cc-by-4.0"
    assert deposit["creators"] == [{"name": "Carberry, Josiah", "orcid": "0000-0002-1825-0097"}]
    assert [(x["name"], x["type"]) for x in deposit["contributors"]] == [
        ("Carberry, Josiah", "ContactPerson"), ("Other Name, Ada", "DataCurator"),
    ]  # fmt: skip
    assert "&lt;counted&gt;" in deposit["description"]  # a text, not a tag
    assert {"identifier": "10.5281/zenodo.1234567", "relation": "isIdenticalTo",
            "resource_type": "dataset"} in deposit["related_identifiers"]  # fmt: skip
    assert "101058625" in deposit["notes"]
    assert deposit["dates"] == [{"type": "Collected", "start": "2024-06-24", "end": "2024-06-24"}]
    record = json.loads((tmp_path / "record/invenio-rdm.json").read_text("utf-8"))["metadata"]
    assert record["resource_type"] == {"id": "dataset"}
    assert record["rights"] == [{"id": "cc-by-4.0"}]
    assert record["title"] == deposit["title"] == facts.title
    assert record["creators"][0]["person_or_org"]["identifiers"] == [
        {"scheme": "orcid", "identifier": "0000-0002-1825-0097"}
    ]
    assert record["dates"] == [{"date": "2024-06-24/2024-06-24", "type": {"id": "collected"}}]
    assert record["funding"][0]["award"]["number"] == "101058625"


def cut_part(run: Path) -> None:
    part = next((run / "predictions.parquet").iterdir())
    part.write_bytes(part.read_bytes()[:-1])


def lose_part(run: Path) -> None:
    next((run / "predictions.parquet").iterdir()).unlink()


def add_part(run: Path) -> None:
    part = next((run / "predictions.parquet").iterdir())
    shutil.copy(part, part.with_name("other.parquet"))


def lose_table(run: Path) -> None:
    (run / "failures.csv").unlink()


def unfinish(run: Path) -> None:
    (run / "run.json").unlink()


def age(run: Path) -> None:
    path = run / "run.json"
    info = json.loads(path.read_text("utf-8"))
    del info["units"]
    path.write_text(json.dumps(info), "utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_part, "journal says"),
        (lose_part, "no bytes"),
        (add_part, "nothing of it"),
        (lose_table, r"no failures\.csv"),
        (unfinish, "no finished run"),
        (age, "another version"),
    ],
)
@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_of_a_damaged_run_nothing_is_written(
    run: Path, facts: DatasetFacts, tmp_path: Path,
    damage: Callable[[Path], None], words: str, name: str,
) -> None:  # fmt: skip
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(SettingError, match=words):
        write_crate(tmp_path / "run", tmp_path / name, facts, DAY)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_there_is_kept_unless_asked(run: Path, facts: DatasetFacts, tmp_path: Path) -> None:
    out = tmp_path / "crate"
    write_crate(run, out, facts, DAY)
    (out / "bins.csv").write_text("older", "utf-8")
    with pytest.raises(SettingError, match="--overwrite"):
        write_crate(run, out, facts, DAY)
    assert (out / "bins.csv").read_text("utf-8") == "older"
    write_crate(run, out, facts, DAY, overwrite=True)
    assert (out / "bins.csv").read_bytes() == (run / "bins.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["crate"]


@pytest.mark.parametrize(
    ("name", "zenodo", "words"),
    [
        ("photos", False, "no crate"),
        ("run", False, "no crate"),
        ("letter", False, "a file"),
        ("nowhere/crate", False, "make it first"),
        ("record.zip", True, "name a folder"),
    ],
)
def test_nothing_else_is_ever_replaced(
    run: Path, facts: DatasetFacts, tmp_path: Path, name: str, zenodo: bool, words: str
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.png").write_bytes(b"1")
    (tmp_path / "letter").write_text("dear", "utf-8")
    shutil.copytree(run, tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(SettingError, match=words):
        write_crate(run, tmp_path / name, facts, DAY, zenodo=zenodo, overwrite=True)
    assert contents(tmp_path) == before


def test_the_command(run: Path, tmp_path: Path) -> None:
    toml = crate_facts.write_facts(tmp_path)
    words = ["export", "crate", run, "--dataset", toml, "--zenodo", "--out", tmp_path / "record"]
    done = CliRunner().invoke(pi10, [*map(str, words), "--published", "2026-11-29", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["written"] == len(list((tmp_path / "record").iterdir()))
    assert "journal" in told["left_out"]
    again = CliRunner().invoke(pi10, list(map(str, words)))
    assert isinstance(again.exception, SettingError)


def test_tables_of_sizes_and_readings_are_part_of_it(
    run: Path, facts: DatasetFacts, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    write_sizes(copy, support.CLASSES, lambda name: "cruise", SizeOptions())
    minutes = sorted({row["minute"] for row in support.csv_of(copy / "counts.csv")} - {""})
    (tmp_path / "tsg.csv").write_text(
        "time,temperature\n" + "".join(f"{minute},12\n" for minute in minutes), "utf-8"
    )
    join(copy, Readings((tmp_path / "tsg.csv",)))
    done = write_crate(copy, tmp_path / "crate", facts, DAY)
    made = {*SIZES, "underway.csv", "underway_bins.csv"}
    assert not made & set(done.left_out)
    entities = graph_of(tmp_path / "crate")
    for name in made:
        data = (copy / name).read_bytes()
        assert (tmp_path / "crate" / name).read_bytes() == data
        assert entities[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert entities[name]["description"]
        assert {"@id": name} in entities["./"]["hasPart"]
