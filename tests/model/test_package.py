"""The model package: verified before it is loaded, refused where it is not as it says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import support
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.model.card import embedded_card
from pi10_classifier.model.package import embedded, find, graph_beginning, installed, read_package
from pi10_classifier.model.session import Model

IMAGE = {"name": "image", "dtype": "uint8", "layout": "NCHW"}
GREY = {"size": support.SIZE, "channels": 1, "level": True}


def images(count: int, seed: int = 0) -> np.ndarray:
    shape = (count, 1, support.SIZE, support.SIZE)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("digits", ["", "3", "0" * 8, "nonsense"])
def test_digits_that_name_no_graph(digits: str) -> None:
    assert graph_beginning(digits) is None


class TestPackage:
    def test_says_what_its_description_says(self, package: Path) -> None:
        found, graph = read_package(package)
        assert (found.name, found.version, found.classes) == ("tiny", "1.0", support.CLASSES)
        assert found.sha256 == hashlib.sha256((package / "model.onnx").read_bytes()).hexdigest()
        assert graph == (package / "model.onnx").read_bytes()
        assert found.preprocessing.size == support.SIZE

    @pytest.mark.parametrize("at", [0, 100, -1])
    def test_flipped_byte(self, tmp_path: Path, at: int) -> None:
        folder = support.write_package(tmp_path)
        graph = bytearray((folder / "model.onnx").read_bytes())
        graph[at] ^= 1
        (folder / "model.onnx").write_bytes(graph)
        with pytest.raises(ModelError, match="SHA-256") as caught:
            read_package(folder)
        assert "reinstall" in caught.value.message

    def test_wrong_hash(self, tmp_path: Path) -> None:
        folder = support.write_package(tmp_path, files={"model.onnx": {"sha256": "0" * 64}})
        with pytest.raises(ModelError, match="SHA-256"):
            read_package(folder)

    @pytest.mark.parametrize(
        "name",
        ["format", "name", "version", "classes", "preprocessing", "input", "output", "files"],
    )
    def test_missing_field(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ModelError, match=name):
            read_package(support.write_package(tmp_path, **{name: None}))

    def test_trim_came_with_format_2(self, tmp_path: Path) -> None:
        """An earlier program reads format 1, and would leave the trim out."""
        trimmed = {"size": 32, "channels": 1, "level": True, "trim": 0.2}
        with pytest.raises(ModelError, match="trim, which needs format 2"):
            read_package(support.write_package(tmp_path / "1", format=1, preprocessing=trimmed))
        folder = support.write_package(tmp_path / "2", format=2, preprocessing=trimmed)
        assert read_package(folder)[0].preprocessing.trim == 0.2

    @pytest.mark.parametrize(
        "fields",
        [
            {"format": 5},
            {"format": "1"},
            {"format": True},
            {"classes": "abc"},
            {"classes": ["only one"]},
            {"classes": ["twice", "twice", "once"]},
            {"classes": ["", "b", "c"]},
            {"classes": ["a", 2, 3]},
            {"classes": [["a"], ["b"], ["c"]]},
            {"classes": ["line\nbreak", "b", "c"]},
            {"classes": {"a": 1, "b": 2, "c": 3}},
            {"classes": [str(n) for n in range(1001)]},
            {"name": ""},
            {"name": "lone surrogate \ud800"},
            {"version": "\x1b[31m"},
            {"temperature": 0},
            {"temperature": -1},
            {"temperature": float("nan")},
            {"temperature": float("inf")},
            {"temperature": "hot"},
            {"thresholds": [0.5, 0.5, 0.5]},
            {"thresholds": {"krill": 0.5}},
            {"thresholds": {"copepod": 1.5}},
            {"thresholds": {"copepod": float("nan")}},
            {"thresholds": {"copepod": "high"}},
            {"thresholds": {"copepod": True}},
            {"temperature": 10**400},
            {"preprocessing": {}},
            {"preprocessing": []},
            {"preprocessing": {**GREY, "size": 15}},
            {"preprocessing": {**GREY, "size": 1025}},
            {"preprocessing": {**GREY, "size": float("inf")}},
            {"preprocessing": {**GREY, "channels": 2}},
            {"preprocessing": {**GREY, "mean": [0.1, 0.2]}},
            {"preprocessing": {**GREY, "std": [0.0]}},
            {"preprocessing": {**GREY, "std": "wide"}},
            {"input": {"name": "image"}},
            {"input": {"name": "image", "dtype": "int64"}},
            {"input": "image"},
            {"output": {"name": "logits", "activation": "sigmoid"}},
            {"files": {}},
            {"files": {"model.onnx": "0"}},
        ],
        ids=str,
    )
    def test_unusable_field(self, tmp_path: Path, fields: dict[str, Any]) -> None:
        with pytest.raises(ModelError):
            read_package(support.write_package(tmp_path, **fields))

    @pytest.mark.parametrize(
        "text",
        [b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
    )
    def test_description_is_no_json_object(self, tmp_path: Path, text: bytes) -> None:
        folder = support.write_package(tmp_path)
        (folder / "model.json").write_bytes(text)
        with pytest.raises(ModelError, match=r"model\.json"):
            read_package(folder)

    @pytest.mark.parametrize("name", ["model.json", "model.onnx"])
    def test_missing_file(self, tmp_path: Path, name: str) -> None:
        folder = support.write_package(tmp_path)
        (folder / name).unlink()
        with pytest.raises(ModelError, match=name):
            read_package(folder)

    def test_graph_beyond_the_cap(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = support.write_package(tmp_path)
        monkeypatch.setattr("pi10_classifier.model.package.MAX_MODEL_BYTES", 100)
        with pytest.raises(ModelError, match="at most 100"):
            read_package(folder)

    def test_temperature_may_be_left_out(self, tmp_path: Path) -> None:
        assert read_package(support.write_package(tmp_path, temperature=None))[0].temperature == 1


def fixed_batch() -> onnx.ModelProto:
    return support.tiny_model(shape=(1, 1, support.SIZE, support.SIZE))


def answers_once() -> onnx.ModelProto:
    """Takes any number of images and gives one row of scores."""
    model = support.tiny_model()
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    model.graph.initializer.append(axes)
    model.graph.node[-1].output[0] = "each"
    model.graph.node.append(helper.make_node("ReduceSum", ["each", "axes"], ["logits"]))
    return model


class TestLoading:
    @pytest.mark.parametrize(
        ("model", "fields", "said"),
        [
            (b"not a graph at all", {}, "damaged"),
            (b"", {}, "refuses"),
            (support.tiny_model(support.weights(4)), {}, "3 classes"),
            (support.tiny_model(support.weights(2)), {}, "3 classes"),
            (support.tiny_model(name="picture"), {}, "picture"),
            (support.tiny_model(), {"output": {"name": "p", "activation": "none"}}, "'p'"),
            (support.tiny_model(kind=TensorProto.FLOAT), {}, "tensor"),
            (support.tiny_model(), {"input": {**IMAGE, "dtype": "float32"}}, "tensor"),
            (support.tiny_model(), {"preprocessing": {**GREY, "size": 64}}, "64"),
            (support.tiny_model(), {"preprocessing": {**GREY, "channels": 3}}, "3, 32, 32"),
            (fixed_batch(), {}, "fails"),
            (answers_once(), {}, "2 images"),
            (support.tiny_model(bias=np.array([0, np.nan, 0])), {}, "not finite"),
            (support.tiny_model(bias=np.array([np.inf, 0, 0])), {}, "not finite"),
        ],
        ids=[
            "not a graph", "empty", "four scores", "two scores", "input name", "output name",
            "input dtype", "described dtype", "size", "channels", "batch of one only",
            "one answer for all", "nan", "infinite",
        ],
    )  # fmt: skip
    def test_mismatched_graph(
        self, tmp_path: Path, model: Any, fields: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ModelError, match=said):
            Model.load(support.write_package(tmp_path, model, **fields))

    def test_unknown_device(self, package: Path) -> None:
        with pytest.raises(SettingError, match="abacus"):
            Model.load(package, "abacus")

    def test_absent_device(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(SettingError, match="onnxruntime-gpu"):
            Model.load(package, "cuda")


class TestScores:
    def test_are_the_softmax_of_the_graph(self, model: Model) -> None:
        batch = images(5)
        patches = batch.astype(np.float64).reshape(5, 4, 8, 4, 8).mean(axis=(2, 4))
        logits = patches.reshape(5, 16) @ support.weights()
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.scores(batch), expected, atol=1e-5)

    def test_one_image_is_a_batch_of_one(self, model: Model) -> None:
        batch = images(17)
        alone = np.concatenate([model.scores(batch[n : n + 1]) for n in range(17)])
        np.testing.assert_allclose(model.scores(batch), alone, atol=1e-6)

    def test_temperature_softens_and_keeps_the_label(self, tmp_path: Path, model: Model) -> None:
        soft = Model.load(support.write_package(tmp_path, temperature=4.0))
        batch = images(20)
        sharp, mild = model.scores(batch), soft.scores(batch)
        assert (mild.max(axis=1) < sharp.max(axis=1)).all()
        assert soft.labels(mild) == model.labels(sharp)
        np.testing.assert_allclose(
            mild[:, 0] / mild[:, 1], (sharp[:, 0] / sharp[:, 1]) ** 0.25, rtol=1e-3
        )

    def test_without_activation_are_the_graphs_own(self, tmp_path: Path) -> None:
        folder = support.write_package(
            tmp_path, output={"name": "logits", "activation": "none"}, temperature=9.0
        )
        logits = Model.load(folder).scores(images(3))
        assert (logits.sum(axis=1) != 1).all()
        assert (logits < 0).any()

    def test_floats_are_normalised(self, tmp_path: Path) -> None:
        """A graph that takes floats gets (x / 255 - mean) / std."""
        folder = support.write_package(
            tmp_path,
            support.tiny_model(kind=TensorProto.FLOAT),
            input={**IMAGE, "dtype": "float32"},
            preprocessing={**GREY, "mean": [0.5], "std": [0.25]},
            output={"name": "logits", "activation": "none"},
        )
        batch = images(2)
        scaled = (batch / 255.0 - 0.5) / 0.25
        patches = scaled.reshape(2, 4, 8, 4, 8).mean(axis=(2, 4)).reshape(2, 16)
        np.testing.assert_allclose(
            Model.load(folder).scores(batch), patches @ support.weights(), atol=1e-5
        )

    def test_labels_are_of_the_highest_score(self, model: Model) -> None:
        scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32)
        assert list(model.labels(scores)) == ["detritus", "copepod"]

    def test_wrong_batch_is_an_error(self, model: Model) -> None:
        with pytest.raises(ModelError, match="fails"):
            model.scores(np.zeros((1, 1, 8, 8), np.uint8))


class TestFind:
    def test_folder(self, package: Path) -> None:
        assert find(str(package)) == package

    @pytest.mark.parametrize("name", ["no-such-model", "", "/", "a\0b", "../starter/.."])
    def test_neither_folder_nor_name(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SettingError, match="no model package"):
            find(name)


class TestStarter:
    def test_is_installed_and_found_by_name(self) -> None:
        assert embedded() in installed()
        assert find("starter") == find("accurate") == embedded()
        assert find("fast") == embedded("fast")

    def test_is_verified_and_small(self) -> None:
        package, graph = read_package(embedded())
        assert set(package.classes) == set(support.CLASSES)
        assert len(graph) < 20 * 2**20

    def test_card_and_description_name_what_they_must(self) -> None:
        said = json.loads((embedded() / "model.json").read_text("utf-8"))
        assert said["metrics"], "held-out figures"
        card = (embedded() / "README.md").read_text("utf-8")
        assert "Pi-10" in card, "what it has never seen"

    def test_a_card_tells_how_much_the_seed_changes(self) -> None:
        said = json.loads((embedded("fast") / "model.json").read_text("utf-8"))
        said["trained_again"] = {"images": 1200, "command": "pi10 train", "macro_f1": {}}
        said["trained_again"]["macro_f1"] |= {"3": 0.9, "4": 0.93, "5": 0.93}
        told = (
            "the seeds 3, 4 and 5, judged on 1,200 test images: macro-F1 0.9000, 0.9300 and 0.9300,"
            " mean 0.9200, standard deviation 0.0173. `pi10 train`"
        )
        assert told in embedded_card(said)

    @pytest.mark.parametrize("name", ["starter", "fast"])
    def test_cards_are_of_their_descriptions_and_tell_of_genuine_particles(self, name: str) -> None:
        said = json.loads((embedded(name) / "model.json").read_text("utf-8"))
        assert (embedded(name) / "README.md").read_text("utf-8") == embedded_card(said)
        first = said["never_seen"].splitlines()[0]
        assert "macro-F1 0.60, 457 images" in first
        assert "cannot be repeated" in said["never_seen"]

    def test_batch_of_one_equals_batch_of_many(self) -> None:
        model = Model.load(embedded())
        spec = model.package.preprocessing
        shape = (9, spec.channels, spec.size, spec.size)
        batch = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        alone = np.concatenate([model.scores(batch[n : n + 1]) for n in range(9)])
        np.testing.assert_allclose(model.scores(batch), alone, atol=1e-5)
