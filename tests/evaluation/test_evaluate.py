"""Judging a package: figures that hold, honest calibration, nothing left out in silence."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import marks
import numpy as np
import pytest
import support
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix, f1_score, precision_score

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.manifest import manifest
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation import analysis, scoring
from pi10_classifier.evaluation import evaluate as room
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.calibrate import calibrate

COUNTS = {"copepod": 40, "detritus": 30, "noncopepod": 20}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.load(marks.package(tmp_path_factory.mktemp("m") / "marks", temperature=0.5))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return marks.tree(tmp_path_factory.mktemp("d") / "marks", COUNTS, doubt=1.2)


@pytest.fixture(scope="module")
def judged(model, data):
    return room.evaluate(model, [data])


def write_manifest(data, path, part_of):
    samples = scan([data]).samples
    text = manifest(replace(s, split=part_of(i)) for i, s in enumerate(samples))
    path.write_text(text, "utf-8")
    return path


def test_figures_are_scikit_learns(model, data, judged):
    found = scan([data])
    scored = scoring.score(model, found, found.samples)
    truth = scored.truth(model.package.classes)
    guess = scored.probabilities.argmax(axis=1)
    assert 0.5 < np.mean(truth == guess) < 1  # else the rest shows little
    every = judged["all"]
    assert every["confusion"] == confusion_matrix(truth, guess).tolist()
    assert every["macro_f1"]["value"] == pytest.approx(
        f1_score(truth, guess, average="macro"), abs=1e-4
    )
    assert every["macro_precision"]["value"] == pytest.approx(
        precision_score(truth, guess, average="macro"), abs=1e-4
    )
    assert every["n"] == 90
    for row in [every["macro_f1"], *(r["recall"] for r in every["per_class"].values())]:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["low"] < row["high"]


def test_scores_do_not_depend_on_jobs(model, data):
    found = scan([data])
    one, three = (scoring.score(model, found, found.samples, jobs=n) for n in (1, 3))
    assert one.samples == three.samples
    np.testing.assert_array_equal(one.probabilities, three.probabilities)


def test_class_without_images_is_named_and_left_out_of_the_mean(model, tmp_path):
    data = marks.tree(tmp_path / "two", {"copepod": 12, "detritus": 12}, doubt=0.3)
    found = room.evaluate(model, [data])
    assert found["data"]["absent_classes"] == ["noncopepod"]
    two = [found["all"]["per_class"][name]["f1"]["value"] for name in ("copepod", "detritus")]
    assert found["all"]["macro_f1"]["value"] == pytest.approx(np.mean(two), abs=1e-4)


def test_images_of_bins_are_resampled_by_bin():
    rng = np.random.default_rng(0)
    # twenty bins of twenty images, right or wrong together: the bins are what was drawn
    right = np.repeat(rng.random(20) < 0.8, 20)
    truth = np.tile([0, 1], 200)
    guess = np.where(right, truth, 1 - truth)
    p = np.eye(2)[guess]
    bins = np.repeat([f"bin {n}" for n in range(20)], 20).tolist()
    by_bin = analysis.figures_of(truth, p, ("a", "b"), bins)
    by_image = analysis.figures_of(truth, p, ("a", "b"))
    assert (by_bin["resampled"], by_image["resampled"]) == ("bins", "images")

    def width(found):
        return found["macro_f1"]["high"] - found["macro_f1"]["low"]

    assert width(by_bin) > 2 * width(by_image)


class TestCalibration:
    def test_before_and_after(self, judged):
        found = judged["calibration"]
        assert found["as_served"]["temperature"] == 0.5
        assert len(found["refitted"]["temperature"]) == 2  # each half judges the other
        assert found["refitted"]["nll"] < found["as_served"]["nll"]
        assert sum(row["n"] for row in found["reliability"]["as_served"]) == 90

    def test_uncalibrated_is_the_package_without_its_temperature(self, data, judged, tmp_path):
        plain = room.evaluate(Model.load(marks.package(tmp_path / "m")), [data])
        assert plain["calibration"]["as_served"]["temperature"] == 1.0
        for key, value in judged["calibration"]["uncalibrated"].items():
            assert plain["calibration"]["as_served"][key] == pytest.approx(value, abs=2e-4)

    def test_temperature_comes_from_the_other_split(self, model, data, tmp_path):
        path = write_manifest(data, tmp_path / "split.csv", lambda i: ("test", "validation")[i % 2])
        found = room.evaluate(model, [data], manifest=path)
        assert (found["data"]["split"], found["data"]["judged"]) == ("test", 45)
        assert found["calibration"]["refitted"]["fitted_on"] == "45 images of the validation split"
        # a test image with a wrong label changes the figures, not the temperature
        text = path.read_text("utf-8")
        path.write_text(
            text.replace("detritus,detritus,,test", "detritus,detritus,,train"), "utf-8"
        )
        fewer = room.evaluate(model, [data], manifest=path)
        temperature = found["calibration"]["refitted"]["temperature"]
        assert fewer["calibration"]["refitted"]["temperature"] == temperature
        assert fewer["data"]["judged"] == 30

    def test_calibrated_package_serves_the_fitted_temperature(self, model, data, tmp_path):
        done = calibrate(model, [data], tmp_path / "out", precision=0.9)
        fitted = Model.load(tmp_path / "out")
        assert fitted.package.temperature == done.temperature > 0.5
        assert fitted.package.sha256 == model.package.sha256
        again = room.evaluate(fitted, [data])
        assert (
            again["calibration"]["as_served"]["nll"]
            < 0.9 * room.evaluate(model, [data])["calibration"]["as_served"]["nll"]
        )
        for label, threshold in done.thresholds.items():
            row = again["thresholds"][label]
            assert (row["kept"], row["called"]) == (threshold.kept, threshold.called)
            assert row["precision_kept"] == threshold.precision
            assert threshold.precision >= 0.9 or not threshold.reached
        assert any(row["kept"] < row["called"] for row in again["thresholds"].values())
        assert "below_threshold" in (tmp_path / "out" / "README.md").read_text("utf-8")

    def test_a_wrong_wish_is_told_before_any_image_is_read(self, model, tmp_path):
        for wish in ({"precision": 1.5}, {"precision": 0.9, "coverage": 0.9}, {"coverage": 0.0}):
            with pytest.raises(SettingError, match="either a precision or a coverage"):
                calibrate(model, [tmp_path / "nowhere"], tmp_path / "out", **wish)

    def test_too_few_to_calibrate(self, model, tmp_path):
        data = marks.tree(tmp_path / "few", {"copepod": 5, "detritus": 5})
        with pytest.raises(SettingError, match="10 images"):
            calibrate(model, [data], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_package_of_probabilities_takes_no_temperature(self, data, tmp_path):
        output = {"name": "logits", "activation": "none"}
        model = Model.load(marks.package(tmp_path / "m", output=output))
        with pytest.raises(ModelError, match="probabilities"):
            calibrate(model, [data], tmp_path / "out")


class TestData:
    def test_unreadable_and_unlabelled_files_are_listed(self, model, tmp_path):
        data = marks.tree(tmp_path / "d", COUNTS)
        (data / "copepod" / "cut.png").write_bytes((data / "copepod/0000.png").read_bytes()[:60])
        (data / "loose.png").write_bytes((data / "copepod/0000.png").read_bytes())
        found = room.evaluate(model, [data])
        assert found["data"]["left_out_by_code"] == {"corrupt_image": 1, "unknown_label": 1}
        assert {x["member"] for x in found["data"]["left_out"]} == {"copepod/cut.png", "loose.png"}

    def test_images_of_no_class_count_apart(self, model, tmp_path):
        data = marks.tree(tmp_path / "d", {**COUNTS, "krill": 7})
        found = room.evaluate(model, [data])
        assert found["all"]["n"] == 90
        assert found["outside"]["krill"]["n"] == 7
        assert sum(found["outside"]["krill"]["called"].values()) == 7

    def test_label_map_turns_labels_into_classes(self, model, tmp_path):
        data = marks.tree(tmp_path / "d", {**COUNTS, "krill": 7})
        (tmp_path / "map.csv").write_text(
            "label,class\nkrill,-\n*,*\n".replace("*,*", "c*,copepod")
        )
        found = room.evaluate(model, [data], label_map=LabelMap.read(tmp_path / "map.csv"))
        assert found["all"]["n"] == 40
        assert found["data"]["left_out_by_code"] == {"label_left_out": 7, "unknown_label": 50}

    def test_no_class_in_common(self, model, tmp_path):
        data = marks.tree(tmp_path / "d", {"krill": 3})
        with pytest.raises(SettingError, match=r"krill.*--label-map"):
            room.evaluate(model, [data])

    def test_one_image(self, model, tmp_path):
        data = marks.tree(tmp_path / "d", {"copepod": 1})
        with pytest.raises(SettingError, match="one image is too few"):
            room.evaluate(model, [data])
        data = marks.tree(tmp_path / "d", {"copepod": 2})
        assert room.evaluate(model, [data])["all"]["n"] == 2

    def test_split_without_manifest(self, model, data):
        with pytest.raises(SettingError, match="--manifest"):
            room.evaluate(model, [data], split="test")

    def test_empty_split(self, model, data, tmp_path):
        path = write_manifest(data, tmp_path / "split.csv", lambda _: "train")
        with pytest.raises(SettingError, match="'test'"):
            room.evaluate(model, [data], manifest=path)

    def test_missing_input(self, model, tmp_path):
        with pytest.raises(SettingError, match="does not exist"):
            room.evaluate(model, [tmp_path / "nowhere"])


class TestPage:
    def test_is_complete_in_itself_and_repeats(self, judged, tmp_path):
        json_path, page_path = room.write_evaluation(tmp_path / "out", judged)
        assert json.loads(json_path.read_text("utf-8")) == judged
        page = page_path.read_text("utf-8")
        assert not re.search(r'(?:src|href)="(?!data:|#)', page)
        assert f"{judged['all']['macro_f1']['value']:.3f}" in page
        before = page_path.read_bytes()
        room.write_evaluation(tmp_path / "out", judged)
        assert page_path.read_bytes() == before

    def test_class_names_are_escaped(self, judged):
        text = json.dumps(judged).replace("detritus", "<b>$dust$</b>")
        from pi10_classifier.evaluation.page import page

        assert "<b>$dust$" not in page(json.loads(text))


def test_the_command_prints_what_it_writes(model, tmp_path):
    data = marks.tree(tmp_path / "d", COUNTS, doubt=1.2)
    (data / "loose.png").write_bytes((data / "copepod/0000.png").read_bytes())
    words = ["evaluate", "--model", str(model.package.folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(pi10, [*words, "--data", str(data)])
    assert done.exit_code == 3, done.output  # a file without a label
    written = json.loads((tmp_path / "out" / room.JSON).read_text("utf-8"))
    f1 = written["all"]["macro_f1"]
    row = next(line for line in done.output.splitlines() if "macro" in line)
    assert f"{f1['value']:.3f} ({f1['low']:.3f}-{f1['high']:.3f})" in row
    assert f"{written['all']['macro_recall']['value']:.3f}" in row
    assert "left out: " in done.output and "loose.png" in done.output


def test_needs_no_torch():
    code = (
        "import sys, pi10_classifier.evaluation.evaluate, pi10_classifier.packaging.calibrate,"
        "pi10_classifier.evaluation.page;"
        "assert not {'torch', 'transformers', 'mlflow', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_says_whose_training_images_may_be_judged(data, tmp_path):
    split = write_manifest(data, tmp_path / "split.csv", lambda i: ("test", "validation")[i % 2])
    digest = hashlib.sha256(split.read_bytes()).hexdigest()
    note = "was trained with another split than"
    for name, sha in (("own", digest), ("another", "0" * 64), ("none", "")):
        folder = marks.package(tmp_path / name, training={"split_sha256": sha} if sha else {})
        words = ["evaluate", "--model", str(folder), "--data", str(data)]
        words += ["--manifest", str(split), "--out", str(tmp_path / f"{name}-out")]
        done = CliRunner().invoke(pi10, words)
        assert done.exit_code == 0, done.output
        assert (note in done.output) == (name != "own"), name


def test_images_of_each_group_are_judged(data, tmp_path):
    path = tmp_path / "map.csv"
    path.write_text(
        "label,class,group\ncopepod,copepod,calanoid\ndetritus,detritus,speck\n"
        "noncopepod,noncopepod,\n",
        "utf-8",
    )
    w = marks.weights()[:, [0, 1, 1, 2]] + np.float32([0, 0, 0.001, 0])
    model = Model.load(support.grouped_package(tmp_path / "m", w))
    found = room.evaluate(model, [data], label_map=LabelMap.read(path))
    assert list(found["groups"]) == ["calanoid", "speck"], "noncopepod has no group"
    matrix = dict(zip(support.CLASSES, found["all"]["confusion"], strict=True))
    for name, label in (("calanoid", "copepod"), ("speck", "detritus")):
        row = found["groups"][name]
        assert (row["class"], row["images"]) == (label, COUNTS[label])
        assert list(row["called"].values()) == matrix[label]
        assert sum(row["as_group"].values()) == row["images"]
        assert row["as_group"]["calanoid"] == row["called"]["copepod"]
        assert row["as_group"]["fibre"] + row["as_group"]["speck"] == row["called"]["detritus"]
    plain = room.evaluate(marked(tmp_path / "plain"), [data], label_map=LabelMap.read(path))
    assert "as_group" not in plain["groups"]["speck"]
    assert plain["groups"]["speck"]["called"].keys() == set(support.CLASSES)
    command = ["evaluate", "--model", str(tmp_path / "m"), "--data", str(data)]
    told = CliRunner().invoke(
        pi10, [*command, "--label-map", str(path), "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 0, told.output
    assert re.search(r"calanoid\W+copepod\W+40\W+\d+\.\d%\W+\d+\.\d%", told.output)
    assert room.evaluate(model, [data])["groups"] == {}


def marked(folder):
    return Model.load(marks.package(folder))
