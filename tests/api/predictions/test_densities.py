"""Individuals per litre in an answer: as ``bins.csv`` has them, or the reason why not."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support

from pi10_classifier.api.predictions.contact_sheet import contact_sheet
from pi10_classifier.api.predictions.handler import predict
from pi10_classifier.api.predictions.inference import PredictionResult
from pi10_classifier.api.predictions.response_schema import ModelPredictionResponse
from pi10_classifier.api.predictions.uploads import Spooled, Upload, clean_name
from pi10_classifier.api.predictions.writers import as_json
from pi10_classifier.inference.chunk_result import ChunkResult
from pi10_classifier.model.package import read_package
from pi10_classifier.results.columns import Row

Spool = Callable[..., Spooled]


@pytest.fixture
def environ(package: Path) -> dict[str, str]:
    return {"PI10_MODELS_DIR": str(package.parent), "PI10_JOBS": "2"}


def tar_of(folder: Path, members: dict[str, bytes | None]) -> bytes:
    return support.write_tar(folder / "pi10.tar", members).read_bytes()


def ask(spooled: Spool, environ: dict[str, str], accept: str = "", **files: bytes):
    given = {"accept": accept} if accept else {}
    answer = predict(environ, data=spooled(**files), model="tiny", **given)
    if isinstance(answer, dict):
        ModelPredictionResponse().load(answer)
    return answer


def test_a_bin_with_its_sidecar_has_the_number_of_its_bins_csv(spooled, environ, tmp_path):
    data = tar_of(tmp_path, support.bin_members(40))
    told = ask(spooled, environ, bin__tar=data)
    zipped = ask(spooled, environ, "application/zip", bin__tar=data)
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        text = archive.read("bins.csv").decode()
    rows = {row["label"]: row for row in csv.DictReader(io.StringIO(text))}
    assert {found["label"] for found in told["densities"]} == set(support.CLASSES)
    assert any(found["per_litre"] for found in told["densities"])
    for found in told["densities"]:
        row = rows[found["label"]]
        for name in ("per_litre", "per_litre_low", "per_litre_high"):
            assert found[name] == float(row[name])
        assert found["per_litre_low"] <= found["per_litre"] <= found["per_litre_high"]
        assert (found["bin"], found["minutes"]) == (row["bin"], int(row["minutes_observed"]))
    assert "of the water sampled" in told["densities_note"]
    assert "classification errors are not in the interval until" in told["densities_note"]


def test_a_lone_image_has_none_and_is_told_why(spooled, environ):
    told = ask(spooled, environ, a__tif=support.particle(1))
    assert told["densities"] == []
    assert told["densities_note"].startswith("No density: there is no HitsMisses.txt")


def test_a_damaged_sidecar_is_the_reason(spooled, environ, tmp_path):
    members = support.bin_members(12)
    (name,) = (name for name in members if name.endswith("HitsMisses.txt"))
    told = ask(spooled, environ, bin__tar=tar_of(tmp_path, {**members, name: b"no table"}))
    assert told["densities"] == []
    assert "HitsMisses.txt cannot be used" in told["densities_note"]
    assert [failure["code"] for failure in told["failures"]] == ["bad_sidecar"]


def test_hits_without_a_readable_image_are_unknown_never_zero(spooled, environ, tmp_path):
    cut = {
        name: data if name.endswith(".txt") else data[:300]
        for name, data in support.bin_members(12).items()
    }
    del cut["Background.tif"]
    told = ask(spooled, environ, bin__tar=tar_of(tmp_path, cut))
    assert all(found["per_litre"] is None for found in told["densities"])
    assert told["densities_note"].startswith("No density: ")
    assert told["error"]["code"] == "corrupt_image"


def loose(folder: str, members: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Members of a bin as uploads of one folder."""
    return [(f"{folder}/{name}", data) for name, data in members.items()]


def ask_loose(tmp_path: Path, environ: dict[str, str], files: list[tuple[str, bytes]]) -> Any:
    """Several uploads by the names that a client gives them."""
    home = tmp_path / f"request-{len(list(tmp_path.iterdir()))}"
    home.mkdir()
    kept = []
    for number, (name, data) in enumerate(files):
        (home / str(number)).write_bytes(data)
        kept.append(Upload(clean_name(name), home / str(number)))
    return predict(environ, data=Spooled(home, tuple(kept)), model="tiny")


def test_two_bins_sent_in_their_folders_have_each_their_own_table(environ, tmp_path):
    later = support.START + timedelta(minutes=10)
    bins = [("1450", support.bin_members(20)), ("1500", support.bin_members(30, later, 1))]
    told = ask_loose(tmp_path, environ, [f for name, its in bins for f in loose(name, its)])
    wanted = {}
    for name, its in bins:
        alone = ask_loose(tmp_path, environ, loose(name, its))
        wanted |= {(row["bin"], row["label"]): row["per_litre"] for row in alone["densities"]}
    got = {(row["bin"], row["label"]): row["per_litre"] for row in told["densities"]}
    assert got == wanted
    assert len(got) == 6


@pytest.mark.parametrize("other", ["HitsMisses.txt", "hitsmisses.txt"])
def test_two_tables_that_differ_are_no_density_whichever_comes_first(environ, tmp_path, other):
    bin_ = support.bin_members(20)
    images = [(name, data) for name, data in bin_.items() if name.endswith(".tif")]
    tables = [("HitsMisses.txt", bin_["HitsMisses.txt"]), (other, b"900,900\n" * 10)]
    for order in (tables, tables[::-1]):
        told = ask_loose(tmp_path, environ, [*images, *order])
        assert not any(row["per_litre"] for row in told["densities"])
        assert told["densities_note"].startswith("No density: ")
        assert "no HitsMisses.txt among" not in told["densities_note"]
    same = ask_loose(tmp_path, environ, [*images, tables[0], tables[0]])
    assert any(row["per_litre"] for row in same["densities"]), "the same table twice is one"


def test_a_table_without_an_image_of_a_bin_is_not_called_missing(environ, tmp_path):
    files = [("a.tif", support.particle(1)), ("HitsMisses.txt", b"1,2\n" * 10)]
    told = ask_loose(tmp_path, environ, files)
    assert told["densities"] == []
    assert told["densities_note"].startswith("No density: HitsMisses.txt was sent")


def outcome_of(package: Path, *labels: str) -> PredictionResult:
    """What the engine makes of images with these labels; one without particle has no score."""
    known, _ = read_package(package)
    outcome = PredictionResult(known)
    for n, label in enumerate(labels):
        known_label = label in known.classes
        scores = [(0.6 if name == label else 0.2) if known_label else 1 / 3
                  for name in known.classes]  # fmt: skip
        row = Row(*[None] * len(Row._fields))._replace(
            particle_id=f"{n}", label=label, flags="", member=f"{n}.tif",
            # the model has scores of a blank image too, and they mean nothing
            score=0.6 if known_label else None, scores=tuple(scores),
        )  # fmt: skip
        counts = Counter({("", "", label): 1})
        outcome.take(ChunkResult(inputs=1, rows=[row], counts=counts))
    return outcome


class TestLabels:
    """What AI4OS's page draws, and what is none of the model's classes."""

    def test_of_one_image_they_are_its_scores(self, package, tmp_path):
        told = as_json(outcome_of(package, "detritus"), 3, {})
        assert dict(zip(told["labels"], told["probabilities"], strict=True)) == {
            "copepod": 0.2, "detritus": 0.6, "noncopepod": 0.2,
        }  # fmt: skip

    def test_of_several_they_are_the_shares(self, package, tmp_path):
        outcome = outcome_of(package, "detritus", "detritus", "copepod", "no_particle")
        told = as_json(outcome, 3, {})
        ModelPredictionResponse().load(told)
        assert dict(zip(told["labels"], told["probabilities"], strict=True)) == {
            "copepod": 0.25, "detritus": 0.5, "noncopepod": 0.0, "no_particle": 0.25,
        }  # fmt: skip
        assert told["results_by_class"]["no_particle"] == 1
        assert sum(told["results_by_class"].values()) == told["totals"]["results"]

    def test_an_image_without_a_particle_has_no_score(self, package, tmp_path):
        told = as_json(outcome_of(package, "no_particle"), 3, {})
        ModelPredictionResponse().load(told)
        assert (told["labels"], told["probabilities"]) == (["no_particle"], [1.0])
        (found,) = told["predictions"]
        assert (found["label"], found["score"], found["top"]) == ("no_particle", None, [])
        assert told["status"] == "ok"

    def test_the_contact_sheet_takes_it(self):
        rgb = np.full((96, 96, 3), 200, np.uint8)
        for score in (None, 0.5):
            assert contact_sheet([("no_particle", score, "a", None, rgb)], 1).startswith(b"\x89PNG")
