"""Individuals per litre in an answer: as ``bins.csv`` has them, or the reason why not."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import support

from pi10_classifier.api.predictions.contact_sheet import contact_sheet
from pi10_classifier.api.predictions.handler import predict
from pi10_classifier.api.predictions.inference import Outcome
from pi10_classifier.api.predictions.response_schema import ModelPredictionResponse
from pi10_classifier.api.predictions.uploads import Spooled
from pi10_classifier.api.predictions.writers import as_json
from pi10_classifier.inference.engine import ChunkResult
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
    assert "HitsMisses.txt cannot be read" in told["densities_note"]
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


def outcome_of(package: Path, *labels: str) -> Outcome:
    """What the engine makes of images with these labels; one without particle has no score."""
    known, _ = read_package(package)
    outcome = Outcome(known)
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
