"""The search: grids, TPE, refusals, and going on after a kill."""

import csv
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from pi10_classifier.errors import Code, ModelError, OutputError, SettingError
from pi10_classifier.search.spaces import PAPER_GRIDS, Range, paper_space, read_space
from pi10_classifier.search.study import best_of, search
from pi10_classifier.training.output_folder import BEST_TRIAL, TRIALS_TABLE

GRID = {"rate": (0.1, 0.01, 0.001), "epochs": (2, 4), "loss": ("las",)}


def score(params) -> float:
    """Highest (0.9) at rate 0.01 and 4 epochs."""
    return (50 + 20 * (params["rate"] == 0.01) + 5 * params["epochs"]) / 100


def pairs(trials) -> Counter:
    return Counter((trial.params["rate"], trial.params["epochs"]) for trial in trials)


EVERY = Counter((rate, epochs) for rate in GRID["rate"] for epochs in GRID["epochs"])


def test_the_papers_grids():
    assert PAPER_GRIDS["vit"] == {"rate": (1e-4, 5e-5, 1e-5), "epochs": (10, 20, 30)}
    assert PAPER_GRIDS["beit"] == PAPER_GRIDS["vit"]
    assert PAPER_GRIDS["resnet18"] == {"rate": (0.01, 0.001, 0.0001), "epochs": (20, 30, 100)}
    assert len(paper_space("vit")["loss_options.shape"]) == 4
    space = paper_space("vit", "tpe", ("las", "st_ce"))
    assert space["rate"] == Range(1e-5, 1e-4, log=True) and space["loss"] == ("las", "st_ce")
    with pytest.raises(SettingError, match="no grid for 'vgg'"):
        paper_space("vgg")
    with pytest.raises(SettingError, match="loss 'focal' is unknown"):
        paper_space("vit", losses=("focal",))


def test_every_point_of_the_grid_once(tmp_path):
    seen = []
    trials = search(score, GRID, folder=tmp_path, done=seen.append)
    assert pairs(trials) == EVERY and seen == trials
    best = best_of(trials)
    assert best.params == {"rate": 0.01, "epochs": 4, "loss": "las"}
    answer = json.loads((tmp_path / BEST_TRIAL).read_text())
    assert answer == {"trial": best.number, "params": best.params, "validation_macro_f1": 0.9}
    rows = list(csv.DictReader((tmp_path / TRIALS_TABLE).read_text().splitlines()))
    assert [float(row["validation_macro_f1"]) for row in rows] == [t.macro_f1 for t in trials]
    calls = []
    again = search(calls.append, GRID, folder=tmp_path, resume=True)
    assert again == trials and not calls  # nothing is left to train


def test_a_killed_search_repeats_the_trial_that_was_running(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
from pi10_classifier.search.study import search
def train_one(params):
    with open({str(tmp_path / "log")!r}, "a") as log:
        print(params["rate"], params["epochs"], file=log)
    if len(open({str(tmp_path / "log")!r}).readlines()) == 3:
        print("third", flush=True)
        time.sleep(120)
    return 0.5
search(train_one, {GRID!r}, folder=Path({str(tmp_path / "out")!r}), resume=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"third\n"
    with pytest.raises(SettingError, match="another search is using"):
        search(score, GRID, folder=tmp_path / "out", resume=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lines = (tmp_path / "log").read_text().splitlines()
    started = [tuple(map(float, line.split())) for line in lines]
    calls = []

    def train_one(params):
        calls.append((params["rate"], params["epochs"]))
        return score(params)

    trials = search(train_one, GRID, folder=tmp_path / "out", resume=True)
    assert calls[0] == started[-1], "the trial that was cut comes first"
    assert len(calls) == 4 and pairs(trials) == EVERY
    assert [trial.macro_f1 for trial in trials][:2] == [0.5, 0.5]


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
@pytest.mark.parametrize("cut", [1, 4, 6])
def test_an_interrupted_search_goes_on(tmp_path, sampler, cut):
    space = GRID if sampler == "grid" else GRID | {"rate": Range(1e-4, 1.0, log=True)}
    calls = []

    def train_one(params):
        calls.append(dict(params))
        if len(calls) == cut:
            raise KeyboardInterrupt
        return score(params)

    with pytest.raises(KeyboardInterrupt):
        search(train_one, space, folder=tmp_path, sampler=sampler, trials=6)
    trials = search(train_one, space, folder=tmp_path, sampler=sampler, trials=6, resume=True)
    assert len(trials) == 6 and len(calls) == 7
    assert calls[cut] == calls[cut - 1], "the trial that was cut is trained again, as it was"
    if sampler == "grid":
        assert pairs(trials) == EVERY
    else:  # a resumed sampler does not draw its first settings again
        assert len({trial.params["rate"] for trial in trials}) == 6


def test_a_full_disk_stops_and_the_trial_is_repeated(tmp_path):
    full = [True]

    def train_one(params):
        if full:
            full.clear()
            raise OutputError(Code.DISK_FULL, "no space left")
        return score(params)

    with pytest.raises(OutputError, match="no space"):
        search(train_one, GRID, folder=tmp_path)
    assert pairs(search(train_one, GRID, folder=tmp_path, resume=True)) == EVERY


def test_settings_that_cannot_be_trained_are_noted(tmp_path):
    calls = []

    def train_one(params):
        calls.append(params)
        if params["rate"] == 0.1:
            raise ModelError("the loss is no number after 3 steps; lower the rate")
        return float("nan") if params["rate"] == 0.01 else score(params)

    trials = search(train_one, GRID, folder=tmp_path)
    assert pairs(trials) == EVERY
    failed = [trial for trial in trials if trial.macro_f1 is None]
    assert {trial.params["rate"] for trial in failed} == {0.1, 0.01}
    assert {trial.error.split(";")[0] for trial in failed} == {
        "the loss is no number after 3 steps", "validation macro-F1 is nan",
    }  # fmt: skip
    assert best_of(trials).params["rate"] == 0.001


def values(folder) -> dict[tuple, tuple[str, str]]:
    """Point -> its value and error, as trials.csv has them; each point is there once."""
    rows = list(csv.DictReader((folder / TRIALS_TABLE).read_text().splitlines()))
    found = {
        (float(row["rate"]), int(row["epochs"])): (row["validation_macro_f1"], row["error"])
        for row in rows
    }
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_failed_points_are_tried_again_on_going_on(tmp_path, sampler):
    """Optuna takes them for visited."""
    failing, calls = [True], []

    def train_one(params):
        calls.append((params["rate"], params["epochs"]))
        if failing and params["epochs"] == 2:
            raise ModelError("weights could not be downloaded; try again")
        return score(params)

    def go_on(**more):
        calls.clear()
        return search(train_one, GRID, folder=tmp_path, sampler=sampler, trials=6, **more)

    first = go_on()
    points = [(trial.params["rate"], trial.params["epochs"]) for trial in first]
    lacking = sorted(p for p, t in zip(points, first, strict=True) if t.macro_f1 is None)
    assert len(first) == 6 and lacking
    if sampler == "grid":
        table = values(tmp_path)
        assert {point for point, (value, _) in table.items() if not value} == set(lacking)
        assert all(table[point][1].startswith("weights could not") for point in lacking)
    again = go_on(resume=True)  # the cause is still there: once each, and no more
    assert sorted(calls) == lacking and len(again) == 6
    failing.clear()
    mended = go_on(resume=True)
    assert sorted(calls) == lacking
    assert len(mended) == 6 and all(trial.macro_f1 is not None for trial in mended)
    assert sorted((t.params["rate"], t.params["epochs"]) for t in mended) == sorted(points)
    if sampler == "grid":
        assert {error for _, error in values(tmp_path).values()} == {""}
        assert json.loads((tmp_path / BEST_TRIAL).read_text())["validation_macro_f1"] == 0.9
    assert go_on(resume=True) == mended and not calls


def test_each_trial_is_told_once_by_its_own_number(tmp_path):
    def train_one(params):
        if params["rate"] == 0.1:
            raise ModelError("no; mend it")
        return score(params)

    told = []
    search(train_one, GRID, folder=tmp_path, done=told.append)
    assert len({trial.number for trial in told}) == 6
    told.clear()
    search(score, GRID, folder=tmp_path, resume=True, done=told.append)
    assert {(trial.params["rate"], trial.error) for trial in told} == {(0.1, "")}
    assert len(told) == 2


def test_the_table_says_what_was_cut_short(tmp_path):
    calls = []

    def train_one(params):
        calls.append((params["rate"], params["epochs"]))
        if len(calls) == 3:
            raise OutputError(Code.DISK_FULL, "no space left")
        return score(params)

    with pytest.raises(OutputError):
        search(train_one, GRID, folder=tmp_path)
    assert values(tmp_path)[calls[2]] == ("", "cut short; --resume tries it again")
    assert pairs(search(train_one, GRID, folder=tmp_path, resume=True)) == EVERY
    assert {error for _, error in values(tmp_path).values()} == {""}


def test_tpe_finds_what_a_grid_misses(tmp_path):
    """A narrow peak between the grid's points, at rate 2e-3."""
    import math

    def train_one(params):
        return 1 / (1 + (math.log10(params["rate"]) - math.log10(2e-3)) ** 2)

    space = {"rate": Range(1e-5, 1.0, log=True), "batch": Range(2, 64, whole=True)}
    trials = search(train_one, space, folder=tmp_path, sampler="tpe", trials=30)
    assert best_of(trials).macro_f1 > 0.98
    assert all(isinstance(trial.params["batch"], int) for trial in trials)
    late = [trial.macro_f1 for trial in trials[15:]]
    assert sum(late) / 15 > sum(trial.macro_f1 for trial in trials[:10]) / 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {}}, "space to search is empty"),
        ({"space": {"rate": (0.1, 0.1)}}, "give different ones"),
        ({"space": {"rate": Range(0.1, 1)}}, "a grid needs a list"),
        ({"space": {"rate": Range(0, 1, log=True)}, "sampler": "tpe"}, "from 0 to 1"),
        ({"sampler": "tpe"}, "give the number of trials"),
        ({"sampler": "luck"}, "must be one of grid, tpe"),
        ({"trials": 0}, "must be 1 or more"),
    ],
)
def test_unusable_searches(tmp_path, change, message):
    settings = {"space": GRID, "folder": tmp_path} | change
    with pytest.raises(SettingError, match=message):
        search(score, settings.pop("space"), **settings)


def test_a_folder_holds_one_search(tmp_path):
    search(score, GRID, folder=tmp_path, trials=1)
    with pytest.raises(SettingError, match="add --resume"):
        search(score, GRID, folder=tmp_path)
    with pytest.raises(SettingError, match="seed was 0, is 5"):
        search(score, GRID, folder=tmp_path, seed=5, resume=True)
    with pytest.raises(SettingError, match="space was"):
        search(score, GRID | {"epochs": (2, 8)}, folder=tmp_path, resume=True)
    assert len(search(score, GRID, folder=tmp_path, trials=3, resume=True)) == 3
    (Path(tmp_path) / "search.json").write_text("{")
    with pytest.raises(SettingError, match="cannot be read"):
        search(score, GRID, folder=tmp_path, resume=True)


def test_a_search_of_something_else_does_not_go_on(tmp_path):
    search(score, GRID, folder=tmp_path, trials=1, about={"network": "vit"})
    with pytest.raises(SettingError, match="network was vit, is beit"):
        search(score, GRID, folder=tmp_path, resume=True, about={"network": "beit"})


def test_a_grid_of_ones_own():
    space = read_space(["rate=0.1, 1e-3", "loss_options.shape=linear,convex"], ("las", "st_ce"))
    assert space == {
        "rate": (0.1, 0.001), "loss_options.shape": ("linear", "convex"), "loss": ("las", "st_ce"),
    }  # fmt: skip
    for wrong in (["rate"], ["rate="], ["rate=1", "rate=2"]):
        with pytest.raises(SettingError, match="is not of the form NAME=VALUE,VALUE"):
            read_space(wrong)
