"""Searches that train: the command, its trials' folders and runs, and going on."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")
pytest.importorskip("optuna")
pytest.importorskip("mlflow")

import marks

from pi10_classifier.cli import pi10
from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.search.trial import Trainer, recipe_of, slug
from pi10_classifier.tracking import spool as sp
from pi10_classifier.training import output_folder
from pi10_classifier.training.data.loading import read_examples
from pi10_classifier.training.plan import TrainingPlan

COUNTS = {"copepod": 24, "detritus": 24, "noncopepod": 24}
BASE = {"epochs": 1, "size": 32, "batch": 16, "loss": "st_ce", "augmentation": "none"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return marks.tree(tmp_path_factory.mktemp("data") / "tree", COUNTS, doubt=0.3)


def run(*words):
    result = CliRunner().invoke(pi10, list(map(str, words)), standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


@pytest.fixture
def command(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    settings = [word for name, value in BASE.items() for word in ("--set", f"{name}={value}")]
    return (
        *("search", "--data", data, "--out", tmp_path / "out", "--network", "mobilenet_v2"),
        *("--init", "random", *settings, "--grid", "rate=0.001,0.0001"),
    )


def test_a_search_trains_and_never_needs_the_test_images(data, tmp_path, command):
    examples = read_examples([data])
    copy = Path(shutil.copytree(data, tmp_path / "tree"))
    for sample in examples.of("test"):
        (copy / sample.member).unlink()
    (tmp_path / "manifest.csv").write_text(examples.manifest, "utf-8")
    words = [copy if word == data else word for word in command]
    output = run(*words, "--manifest", tmp_path / "manifest.csv", "--seed", 5)
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert sorted(row["rate"] for row in rows) == ["0.0001", "0.001"]
    for row in rows:
        folder = out / "trials" / f"rate={row['rate']}" / "seed-5"
        assert float(row["validation_macro_f1"]) == output_folder.best_validation(folder)
        names = {path.name for path in folder.iterdir()}
        assert names == {"config.json", "metrics.csv", "checkpoint", "validation.json"}
        assert output_folder.read_config(folder)["identity"]["recipe"]["rate"] == float(row["rate"])
    best = json.loads((out / "best.json").read_text())
    assert f"best of 2 trials by validation macro-F1 {best['validation_macro_f1']:.4f}" in output

    parent, *trials = sp.runs_of(out / sp.SPOOL)
    assert parent.header.name == "out" and len(trials) == 2
    for trial in trials:
        assert trial.header.parent == parent.header.id
        events = [event for event, _ in trial.events()]
        assert events[-1]["status"] == "FINISHED"
        (params,) = (event["values"] for event in events if event["kind"] == "params")
        assert trial.header.name == f"rate={params['rate']}"


def test_a_trial_that_was_cut_goes_on_and_a_whole_one_is_not_trained_again(data, tmp_path):
    examples = read_examples([data])
    left = iter([*range(5), "stop", *range(99)])  # 4 steps an epoch: in the second one

    def check():
        if next(left) == "stop":
            raise KeyboardInterrupt

    base = BASE | {"epochs": 2}

    def trainer(check, said):
        recipe = recipe_of("mobilenet_v2", base, {})
        plan = TrainingPlan("mobilenet_v2", recipe, tmp_path, init="random")
        return Trainer(examples, plan, base, None, said.append, check)

    with pytest.raises(KeyboardInterrupt):
        trainer(check, [])({"rate": 0.001})
    value = trainer(check, [])({"rate": 0.001})
    (folder,) = tmp_path.glob("trials/rate=0.001/seed-0")
    assert [row["epoch"] for row in output_folder.read_metrics(folder)] == [1, 2]

    def never():
        raise AssertionError("a step was made")

    said = []
    assert trainer(never, said)({"rate": 0.001}) == value
    assert said == [f"{folder} is done"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--grid", "ratee=1,2"), "a recipe has no 'ratee'"),
        (("--grid", "epochs"), "is not of the form NAME=VALUE,VALUE"),
        (("--set", "batch=one"), "batch is 'one'"),
        (("--loss", "focal"), "unknown loss 'focal'"),
        (("--network", "vgg"), "unknown network or recipe 'vgg'"),
        (("--init", "absent"), "init is 'absent'"),
        (("--sampler", "tpe"), "TPE has no natural end"),
    ],
)
def test_wrong_settings_are_told_before_data_are_read(command, tmp_path, flags, message):
    words = [word for word in command if word not in ("--set", "loss=st_ce")]
    words = [w if "=" not in str(w) or str(w).startswith("rate") else f"--set={w}" for w in words]
    with pytest.raises(SettingError, match=message):
        run(*words, "--no-tracking", *flags)
    assert not (tmp_path / "out").exists()


def test_files_left_out_are_named_and_the_exit_code_says_so(data, tmp_path, command):
    copy = Path(shutil.copytree(data, tmp_path / "tree"))
    (copy / "copepod" / "torn.png").write_bytes(b"\x89PNG torn")
    words = [copy if word == data else word for word in command[:-1]]
    result = CliRunner().invoke(pi10, [*map(str, words), "rate=0.001", "--no-tracking"])
    assert result.exit_code == ExitCode.SOME_FAILED, result.output
    assert "left out: tree: copepod/torn.png: unsupported_format" in result.stderr
    assert "best of 1 trials" in result.stdout


def test_data_and_weights_that_cannot_be_used_are_refused(tmp_path, command):
    def refused(match, *flags, **counts):
        data = marks.tree(tmp_path / f"{len(counts)}-{len(flags)}", {**COUNTS, **counts})
        words = [*command[:2], data, *command[3:], "--no-tracking", *flags]
        with pytest.raises(SettingError, match=match):
            run(*words)

    refused("no image of class 'krill', which has 1 image", krill=1)
    lines = "\n".join(["label,class", *(f"{name},{name}" for name in COUNTS), "krill,krill"])
    (tmp_path / "map.csv").write_text(lines)
    refused("leaves class 'krill' empty", "--label-map", tmp_path / "map.csv")
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04.")
    refused(
        r"all of the 2 trials failed, .*weights\.pt is a pickle", "--init", tmp_path / "weights.pt"
    )


def test_without_torch_it_names_the_extra(command):
    code = "import sys; sys.modules['torch'] = None\nfrom pi10_classifier.cli import main; main()"
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", code, *map(str, command)]
    found = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert found.returncode == 2
    assert "search needs torch and transformers" in found.stderr
    assert "Traceback" not in found.stderr


def test_options_of_a_loss_are_nested_and_those_of_another_are_dropped():
    recipe = recipe_of("vit", {"loss": "las"}, {"loss_options.shape": "convex", "rate": 1e-4})
    assert recipe.loss_options == {"shape": "convex"} and recipe.rate == 1e-4
    base = {"loss": "las", "loss_options": {"shape": "convex"}}
    assert recipe_of("vit", base, {"loss": "st_ce"}).loss_options == {}


def test_different_settings_have_different_folders():
    wide = {"loss_options.ends": "x" * 200}
    names = [slug({"rate": 0.1}), slug({"rate": "0/1"}), slug({"rate": "0:1"}), slug(wide)]
    assert names[0] == "rate=0.1" and len(set(names)) == 4
    assert all("/" not in name and len(name) < 150 for name in names)
