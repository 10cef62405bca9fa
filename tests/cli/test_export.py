"""The commands that judge packages or make new ones: what is left out, refused, interrupted."""

import shutil
import sys

import cv2
import marks
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from pi10_classifier import cli
from pi10_classifier.datasets import selection
from pi10_classifier.errors import ExitCode
from pi10_classifier.model.package import find

EACH = {"copepod": 35, "detritus": 35, "noncopepod": 35}
COMMANDS = {
    "evaluate": ("evaluate", "--data"),
    "calibrate": ("calibrate", "--data"),
    "int8": ("export", "int8", "--images", "30", "--draws", "1", "--allow", "100", "--data"),
    "adapt": ("adapt", "--anyway", "--gallery"),
}
every_command = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return marks.package(tmp_path_factory.mktemp("m") / "marks")


@pytest.fixture
def data(tmp_path):
    return marks.tree(tmp_path / "crops", EACH)


@pytest.fixture
def run(model, data, tmp_path, monkeypatch):
    # the calibration of a few drawn images is no matter of these tests
    monkeypatch.setattr("pi10_classifier.packaging.precision_gate.CALIBRATION_ALLOWED", 1.0)

    def call(name, *more, folder=data):
        *words, option = COMMANDS[name]
        words += ["--model", model, "--out", tmp_path / "out", *more, option, folder]
        return CliRunner().invoke(cli.pi10, [str(word) for word in words])

    return call


def label_map(folder, *lines):
    (folder / "map.csv").write_text("\n".join(["label,class", *lines]) + "\n")
    return "--label-map", folder / "map.csv"


@every_command
def test_files_without_a_result_are_named_and_the_exit_code_says_so(run, data, tmp_path, name):
    (data / "copepod" / "torn.png").write_bytes((data / "copepod/0000.png").read_bytes()[:60])
    shutil.copy(data / "copepod/0001.png", data / "detritus/both.png")
    done = run(name)
    assert done.exit_code == ExitCode.SOME_FAILED, done.output
    assert "left out: crops: copepod/torn.png: corrupt_image: " in done.stderr
    assert "left out: crops: detritus/both.png: mislabelled: is 'detritus' here" in done.stderr
    assert any((tmp_path / "out").iterdir()), "the others have their result"


@every_command
def test_what_was_asked_for_is_no_failure(run, data, tmp_path, name):
    marks.tree(data, {"krill": 3}, seed=5)
    done = run(name, *label_map(tmp_path, *(f"{x},{x}" for x in EACH), "krill,-"))
    assert done.exit_code == ExitCode.OK, done.output
    assert "left out as the label map asks: 3 images" in done.stderr


@every_command
def test_a_label_without_a_line_is_a_failure(run, data, tmp_path, name):
    marks.tree(data, {"krill": 3}, seed=5)
    done = run(name, *label_map(tmp_path, *(f"{x},{x}" for x in EACH)))
    assert done.exit_code == ExitCode.SOME_FAILED, done.output
    assert done.stderr.count("unknown_label: label 'krill' matches no line") == 3


def test_a_misspelt_line_of_the_label_map_is_named(run, tmp_path):
    done = run("evaluate", *label_map(tmp_path, *(f"{x},{x}" for x in EACH), "copepood,copepod"))
    assert done.exit_code == ExitCode.OK
    assert "lines without an image, perhaps misspelt: copepood" in done.stderr


@every_command
def test_an_empty_class_is_refused(run, tmp_path, name):
    lines = (*(f"{x},{x}" for x in EACH), "krill,krill")
    done = run(name, *label_map(tmp_path, *lines))
    assert "the label map leaves class 'krill' empty" in str(done.exception)
    assert not (tmp_path / "out").exists()


@every_command
def test_unreadable_files_are_named_though_the_rest_is_refused(run, tmp_path, name):
    data = marks.tree(tmp_path / "few", {"copepod": 3, "detritus": 1} | {"krill": 1})
    (data / "copepod" / "torn.png").write_bytes(b"\x89PNG")
    done = run(name, folder=data)
    if name != "evaluate":  # which judges as many as there are
        assert done.exception is not None and not (tmp_path / "out").exists()
    assert "copepod/torn.png" in done.stderr


@every_command
def test_a_pickle_for_a_model_is_refused(run, tmp_path, name):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    done = run(name, "--model", tmp_path / "weights")
    assert "no model package at" in str(done.exception)


def test_twenty_faults_are_named_and_the_rest_counted(run, data, tmp_path):
    for n in range(25):
        (data / "noncopepod" / f"empty{n}.png").write_bytes(b"")
    done = run("evaluate", *label_map(tmp_path, *(f"{x},{x}" for x in EACH)))
    lines = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    assert len(lines) == 21 and lines[-1].startswith("left out: 5 more; `pi10 dataset`")


def test_the_files_nobody_asked_to_leave_out_come_first(run, data, tmp_path):
    rng = np.random.default_rng(1)
    (data / "a").mkdir()
    for n in range(25):
        cv2.imwrite(str(data / "a" / f"{n}.png"), marks.mark("krill", rng))
    (data / "noncopepod" / "empty.png").write_bytes(b"")
    done = run("evaluate", *label_map(tmp_path, *(f"{x},{x}" for x in EACH), "a,-"))
    lines = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    assert "noncopepod/empty.png: empty_object" in lines[0]
    assert lines[1:] == ["left out as the label map asks: 25 images"]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("evaluate", "--data", "DATA", "--out", "OUT"), "run the same command again"),
        (("export", "int8", "--data", "DATA", "--out", "OUT"), "run the same command again"),
        (("calibrate", "--data", "DATA", "--out", "OUT"), "run the same command again"),
    ],
)
def test_interrupted_it_speaks_of_no_resume(data, tmp_path, monkeypatch, capsys, words, advice):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(selection, "scan", stopped)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    places = {"DATA": str(data), "OUT": str(tmp_path / "out")}
    argv = ["pi10", *(places.get(word, word) for word in words), "--model", str(find("starter"))]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == ExitCode.INTERRUPTED
    assert capsys.readouterr().err.strip() == f"interrupted; {advice}"
    assert not (tmp_path / "out").exists()
