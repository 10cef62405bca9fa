"""``pi10 table1``: losses by networks by seeds, gone on with after an interruption."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

import marks

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.search.paper_table import entries, plans_of, train_table
from pi10_classifier.search.spaces import ATTENTIVE, LOSSES, fits, paper_space
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import read_examples
from pi10_classifier.training.networks.pretrained import PipWeights
from pi10_classifier.training.networks.registry import ARCHITECTURES

COUNTS = {"copepod": 24, "detritus": 24, "noncopepod": 24}
BASE = {"epochs": 1, "size": 32, "batch": 16, "augmentation": "none"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return marks.tree(tmp_path_factory.mktemp("data") / "tree", COUNTS, doubt=0.3)


def test_attention_is_asked_of_networks_that_have_it():
    assert set(ATTENTIVE) == {
        name for name, known in ARCHITECTURES.items() if known.kind in ("vit", "beit")
    }
    assert fits("vit", "dynamic_las") and not fits("resnet18", "dynamic_las")
    assert "dynamic_las" in paper_space("vit", losses=("las", "dynamic_las"))["loss"]
    with pytest.raises(SettingError, match="has none; leave it out"):
        paper_space("resnet18", losses=("dynamic_las",))


def test_every_loss_has_a_row_with_every_network_that_it_fits(tmp_path):
    rows, notes = entries(("resnet18", "vit_tiny"), LOSSES, tmp_path)
    assert len(rows) == 2 * len(LOSSES) - 1
    assert notes == ["resnet18 with dynamic_las is left out: resnet18 has no attention"]
    plans = plans_of(rows, BASE, range(3), init="random")
    assert {plan.recipe.loss for plan in plans} == set(LOSSES)
    assert all(plan.seeds == (0, 1, 2) for plan in plans)
    with pytest.raises(SettingError, match="unknown"):
        entries(("vit",), ("focal",), tmp_path)


def test_the_table_is_trained_and_printed(data, tmp_path):
    words = ["table1", data, "--out", tmp_path / "out", "--network", "mobilenet_v2", "--network",
             "vit_tiny", "--loss", "las", "--loss", "dynamic_las", "--seeds", 1, "--init",
             "random", "--no-tracking"]  # fmt: skip
    words += [word for name, value in BASE.items() for word in ("--set", f"{name}={value}")]
    result = CliRunner().invoke(pi10, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    assert "mobilenet_v2 with dynamic_las is left out" in result.stderr
    table = json.loads(result.stdout)
    assert {row["row"] for row in table["rows"]} == {
        "mobilenet_v2 las", "vit_tiny las", "vit_tiny dynamic_las",
    }  # fmt: skip
    with (tmp_path / "out/table1.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3
    again = CliRunner().invoke(pi10, [*map(str, words), "--json"])
    assert json.loads(again.stdout) == table
    assert again.stderr.count(" is done") == 3


def test_a_table_that_was_cut_goes_on(data, tmp_path, monkeypatch):
    examples = read_examples([data])
    rows, _ = entries(("mobilenet_v2",), ("st_ce", "bce"), tmp_path)
    plans = plans_of(rows, BASE, (0,), init="random")
    said: list[str] = []

    def stop() -> None:
        if any("row 2" in line for line in said):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_table(examples, plans, emit=said.append, raise_if_cancelled=stop)
    said.clear()
    checked: list[str] = []
    check = runs.check
    monkeypatch.setattr(runs, "check", lambda e, plan, emit: checked.append(check(e, plan, emit)))
    done = train_table(examples, plans, emit=said.append)
    assert checked, "the second row was still to be trained"
    checked.clear()
    assert train_table(examples, plans, emit=said.append) == done
    assert not checked, "what is done needs no weights"
    assert [folder.parent.name for folder in done] == ["mobilenet_v2-st_ce", "mobilenet_v2-bce"]
    assert f"{rows[0].folder / 'seed-0'} is done" in said
    assert all((folder / "test_predictions.csv").is_file() for folder in done)


def test_missing_weights_of_any_network_are_told_before_the_first_row(data, tmp_path, monkeypatch):
    absent = PipWeights("absent 1", "absent==1", "absent_weights", "a.pth", "nobody", "none")
    known = replace(ARCHITECTURES["efficientnet_lite0"], weights=absent)
    monkeypatch.setitem(ARCHITECTURES, "efficientnet_lite0", known)
    rows, _ = entries(("mobilenet_v2", "efficientnet_lite0"), ("st_ce",), tmp_path)
    plans = plans_of(rows, BASE, (0,))
    plans[0] = replace(plans[0], init="random")
    said: list[str] = []
    with pytest.raises(SettingError, match="pip install absent==1"):
        train_table(read_examples([data]), plans, emit=said.append)
    assert said == []


def test_what_the_rows_differ_in_cannot_be_set_for_all(data, tmp_path):
    for setting, option in (("loss=las", "--loss"), ("seed=3", "--seeds")):
        words = ["table1", data, "--out", tmp_path / "out", "--set", setting]
        result = CliRunner().invoke(pi10, [*map(str, words)])
        assert isinstance(result.exception, SettingError) and option in str(result.exception)
