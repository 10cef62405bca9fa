"""``predict`` in its own process: models, caps, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import support
from marshmallow import ValidationError

from pi10_classifier.api.predictions.handler import predict
from pi10_classifier.api.predictions.model_store import Shelf, describe, folders, with_thresholds
from pi10_classifier.api.predictions.response_schema import ModelPredictionResponse, refused
from pi10_classifier.api.predictions.uploads import Spooled
from pi10_classifier.api.settings import Service
from pi10_classifier.errors import ModelError

Spool = Callable[..., Spooled]
IMAGE = support.particle(1)


@pytest.fixture
def environ(package: Path) -> dict[str, str]:
    """The settings of a service that has the tiny model."""
    return {"PI10_MODELS_DIR": str(package.parent), "PI10_JOBS": "2"}


def test_the_answer_has_its_form(spooled: Spool, environ: dict[str, str]) -> None:
    files = spooled(a__tif=IMAGE, b__tif=b"")
    answer = predict(environ, data=files, model="tiny", accept="*/*")
    ModelPredictionResponse().load(answer)
    ModelPredictionResponse().load(refused("too_large", "of a test"))
    ModelPredictionResponse().load(refused("bad_setting", "of a test", "top_k"))
    json.dumps(answer)
    assert answer["totals"] == {"inputs": 2, "results": 1, "failures": 1, "skipped": 0}
    assert not files.folder.exists()
    never_asked = {"group", "novelty", "ground_grey", "ground_spread", "ground_stripe", "sharpness"}
    assert not never_asked & answer["predictions"][0].keys()


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"PI10_MAX_IMAGES": "1"}, "too_large"), ({"PI10_MAX_UPLOAD_MB": "1"}, "too_large")],
)
def test_caps(spooled: Spool, environ: dict[str, str], settings: dict, code: str) -> None:
    files = spooled(a__tif=IMAGE, b__tif=bytes(2**20))
    answer = predict({**environ, **settings}, data=files, model="tiny")
    ModelPredictionResponse().load(answer)
    assert answer["error"]["code"] == code
    assert not files.folder.exists()


def test_large_images_are_refused_by_their_header(spooled: Spool, environ: dict[str, str]) -> None:
    from pi10_classifier.simulate import encode_tiff

    wide = encode_tiff(np.full((600, 2000, 3), 200, np.uint8), support.START, 50.0, -4.0)
    files = spooled(a__tif=wide)
    answer = predict({**environ, "PI10_MAX_MEGAPIXELS": "1"}, data=files, model="tiny")
    assert answer["failures"][0]["code"] == "too_large"


def test_several_chunks_keep_their_order(spooled: Spool, environ: dict[str, str]) -> None:
    names = [f"{n:03}" for n in range(200)]
    files = spooled(**{f"{name}__tif": support.particle(int(name)) for name in names})
    answer = predict(environ, data=files, model="tiny", measurements=False)
    assert [found["particle_id"] for found in answer["predictions"]] == names


def test_a_damaged_model_is_an_answer(
    spooled: Spool, environ: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "models"
    broken = support.write_package(home / "broken")
    (broken / "model.onnx").write_bytes(b"x")
    given = {"PI10_MODELS_DIR": str(home)}
    answer = predict(given, data=spooled(a__tif=IMAGE), model="broken")
    assert answer["error"]["code"] == "model_mismatch"
    told = {model["id"]: model for model in describe(Service.from_environ(given))}
    assert told["broken"]["error"]["code"] == "model_mismatch"
    assert told["starter"]["sha256"]


class TestPackages:
    def test_only_plain_names_and_none_hides_an_embedded_one(self, tmp_path: Path) -> None:
        for name in ("good", "starter", "bad name", ".hidden"):
            support.write_package(tmp_path / name)
        (tmp_path / "empty").mkdir()
        found = folders(Service(models_dir=tmp_path))
        assert set(found) == {"starter", "fast", "good"}
        assert found["starter"].parent != tmp_path

    def test_a_model_is_loaded_once_until_it_changes(self, tmp_path: Path) -> None:
        shelf = Shelf()
        folder = support.write_package(tmp_path / "one")
        first = shelf.load(folder)
        assert shelf.load(folder) is first
        support.write_package(folder, support.tiny_model(support.weights(seed=9)))
        second = shelf.load(folder)
        assert second.package.sha256 != first.package.sha256
        (folder / "model.onnx").write_bytes(b"x")
        with pytest.raises(ModelError):
            shelf.load(folder)

    def test_thresholds_do_not_touch_the_model(self, tmp_path: Path) -> None:
        model = Shelf().load(support.write_package(tmp_path / "one"))
        assert with_thresholds(model, None) is model
        changed = with_thresholds(model, {"copepod": 0.5})
        assert changed.package.thresholds == (0.5, 0.0, 0.0)
        assert with_thresholds(model, 0.25).package.thresholds == (0.25,) * 3
        assert model.package.thresholds == ()
        with pytest.raises(ValidationError, match="copepod") as caught:
            with_thresholds(model, {"whale": 0.5})
        assert list(caught.value.normalized_messages()) == ["thresholds"]


@pytest.mark.parametrize("name", ["told", "tiny"])
def test_novelty_is_answered_by_models_that_tell_it(
    spooled: Spool, environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    for folder, make in (("told", support.novelty_package), ("tiny", support.write_package)):
        make(tmp_path / "models" / folder)
    settings = {**environ, "PI10_MODELS_DIR": str(tmp_path / "models")}
    answer = predict(settings, data=spooled(a__tif=IMAGE), model=name)
    (row,) = answer["predictions"]
    assert ("novelty" in row) == (name == "told")
    table = predict(settings, data=spooled(a__tif=IMAGE), model=name, accept="text/csv")
    header, cells = table.decode().splitlines()
    by_name = dict(zip(header.split(","), cells.split(","), strict=True))
    assert ("novelty" in by_name) == (name == "told")
    assert by_name["model"] == "tiny"  # the name in the description of both
    if name == "told":
        assert float(by_name["novelty"]) == pytest.approx(row["novelty"])
        unlike = row["novelty"] > 1
        assert ("unlike_training" in row["flags"]) == unlike
