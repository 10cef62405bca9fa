"""The table of runs: intervals against naive resampling, the paired test, files, commands."""

import csv
import io
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from pi10_classifier.cli.compare import compare as compare_command
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.bootstrap import RunOutcome, class_f1, holm, resample
from pi10_classifier.evaluation.comparison import compare
from pi10_classifier.evaluation.test_predictions import (
    PREDICTIONS,
    Predictions,
    read_predictions,
    write_predictions,
)
from pi10_classifier.tracking.run_reader import read_runs

CLASSES = ("copepod", "detritus", "non-copepod")


def run_of(network="vit", loss="LAS", seed=0, skill=0.85, n=400, begin=0) -> Predictions:
    """Predictions right with probability ``skill``; truth depends on the image alone."""
    truth = (np.arange(begin, begin + n) * 7 % 10 > 6).astype(np.int64)
    truth[np.arange(begin, begin + n) % 25 == 0] = 2
    rng = np.random.default_rng([seed, round(skill * 1000), len(network), len(loss)])
    right = rng.random(n) < skill
    guess = np.where(right, truth, (truth + rng.integers(1, 3, n)) % 3)
    scores = np.full((n, 3), 0.1)
    scores[np.arange(n), guess] = 0.8
    images = tuple(("tank", f"day 1/{begin + i}.png") for i in range(n))
    return Predictions(network, loss, seed, CLASSES, images, truth, guess, scores)


def naive_f1(truth, guess, k) -> float:
    """F1 of class k from its definition, one image after another."""
    hits = wrong = missed = 0
    for t, g in zip(truth, guess, strict=True):
        hits += t == k and g == k
        wrong += t != k and g == k
        missed += t == k and g != k
    return 2 * hits / (2 * hits + wrong + missed) if hits + wrong + missed else 0.0


def naive_draws(rows, resamples, seed):
    """Macro-F1 of each row in each resample, drawing one image and one seed at a time."""
    rng = random.Random(seed)
    n = len(rows[0][0].truth)
    drawn = []
    for _ in range(resamples):
        images = [rng.randrange(n) for _ in range(n)]
        figures = []
        for runs in rows:
            picked = [rng.choice(runs) for _ in range(max(1, len(runs) - 1))]
            macro = [
                sum(naive_f1(run.truth[images], run.guess[images], k) for k in range(3)) / 3
                for run in picked
            ]
            figures.append(sum(macro) / len(macro))
        drawn.append(figures)
    return np.array(drawn)


def outcomes(*runs):
    return [RunOutcome(run.truth, run.guess) for run in runs]


def test_weighted_f1_is_f1_of_repeated_images():
    run = run_of(n=120)
    weight = np.random.default_rng(1).integers(0, 4, (2, 120))
    found = class_f1(outcomes(run)[0], 3, weight.astype(np.float32))
    for i in range(2):
        again = np.repeat(np.arange(120), weight[i])
        expected = [naive_f1(run.truth[again], run.guess[again], k) for k in range(3)]
        assert found[i] == pytest.approx(expected, abs=1e-12)


def test_images_a_run_did_not_test_do_not_count():
    run = run_of(n=50)
    longer = RunOutcome(np.append(run.truth, [-1, -1]), np.append(run.guess, [-1, -1]))
    assert class_f1(longer, 3) == pytest.approx(class_f1(outcomes(run)[0], 3))


def test_intervals_agree_with_naive_resampling():
    """Two rows of three seeds; both sides draw with their own generator."""
    rows = [
        outcomes(*(run_of(seed=s, skill=q, n=150) for s, q in enumerate(skills)))
        for skills in ((0.9, 0.8, 0.85), (0.78, 0.8, 0.7))
    ]
    ours = resample({"a": rows[0], "b": rows[1]}, 3, 6000, seed=1)
    theirs = naive_draws(rows, 1200, seed=2)
    for name, column in (("a", 0), ("b", 1)):
        draws = ours.draws[name].mean(axis=1)
        assert draws.mean() == pytest.approx(theirs[:, column].mean(), abs=0.006)
        assert draws.std() == pytest.approx(theirs[:, column].std(), rel=0.1)
    gap = theirs[:, 0] - theirs[:, 1]
    found = ours.difference("a", "b")
    assert (found.low, found.high) == pytest.approx(np.quantile(gap, (0.025, 0.975)), abs=0.012)


def test_the_spread_of_seeds_is_not_understated():
    """Where only seeds differ, the bootstrap's variance is that of a mean of S, s²/S."""
    n = 20_000
    truth = np.arange(n) % 2
    runs = []
    for wrong in (0.0, 0.1, 0.2):
        guess = truth.copy()
        guess[: round(n * wrong)] = 1 - truth[: round(n * wrong)]
        runs.append(RunOutcome(truth, guess))
    singles = [class_f1(run, 2).mean() for run in runs]
    draws = resample({"a": runs}, 2, 8000).draws["a"].mean(axis=1)
    assert draws.std() == pytest.approx(np.std(singles, ddof=1) / np.sqrt(3), rel=0.03)


def test_pairing_sees_what_separate_intervals_hide():
    a = run_of(n=2000)
    guess = a.guess.copy()
    worse = np.flatnonzero(a.guess == a.truth)[::40]  # 2 % of the images, and only these
    guess[worse] = (guess[worse] + 1) % 3
    found = resample({"a": outcomes(a), "b": [RunOutcome(a.truth, guess)]}, 3)
    wide, narrow = found.f1("a"), found.difference("a", "b")
    assert found.f1("b").high > wide.low  # the rows' intervals overlap
    assert narrow.low > 0 and narrow.p < 0.01
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2


def test_equal_rows_do_not_differ():
    run = outcomes(run_of())
    found = resample({"a": run, "b": run}, 3).difference("a", "b")
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_table_in_the_papers_form():
    runs = [run_of("vit", "LAS", s, 0.95) for s in range(3)]
    runs += [run_of("vit", "ST_CE", s, 0.7) for s in range(3)]
    runs += [run_of("resnet18", "ST_CE", 4, 0.8)]
    table = compare(runs)
    assert [row.row for row in table.rows] == ["vit LAS", "resnet18 ST_CE", "vit ST_CE"]
    best, single, last = table.rows
    assert best.against is None and best.seeds == (0, 1, 2) and single.seeds == (4,)
    expected = [np.mean([naive_f1(r.truth, r.guess, k) for r in runs[:3]]) for k in range(3)]
    assert [f.value for f in best.per_class.values()] == pytest.approx(expected)
    assert best.macro_f1.value == pytest.approx(np.mean(expected))
    assert best.macro_f1.low < best.macro_f1.value < best.macro_f1.high
    assert last.against.value < 0 and last.against.p < 0.01 and last.p_holm >= last.against.p
    assert any("resnet18 ST_CE" in note for note in table.notes)
    text = table.to_text()
    assert text.splitlines()[0].split()[:5] == ["network", "loss", "seeds", "macro-F1", "copepod"]
    assert f"{best.macro_f1.value:.3f} ({best.macro_f1.low:.3f}" in text and "Holm" in text
    assert compare(runs, against="vit ST_CE").rows[0].row == "vit ST_CE"


def test_what_cannot_be_compared():
    run = run_of()
    other = replace(run_of(seed=1), classes=("a", "b", "c"))
    flipped = replace(run_of(seed=1), truth=(run.truth + 1) % 3)
    for runs, message in (
        ([], "no run"),
        ([run, run], "given twice"),
        ([run, other], "same classes"),
        ([run, flipped], "another true class"),
        ([run, run_of(seed=1, begin=1000)], "no test image in common"),
    ):
        with pytest.raises(SettingError, match=message):
            compare(runs)
    with pytest.raises(SettingError, match="no row is called 'beit LAS'; there are vit LAS"):
        compare([run], against="beit LAS")


def test_partly_shared_test_images_are_told():
    table = compare([run_of(), run_of("beit", begin=100)], resamples=100)
    assert any("share 300 of 500" in note for note in table.notes)
    assert [row.images for row in table.rows] == [400, 400]


def test_predictions_survive_their_file(tmp_path):
    run = replace(run_of(n=30), classes=("a,b", 'quo"ted', "ç"))
    write_predictions(tmp_path, run)
    again = read_predictions(tmp_path)
    assert (again.network, again.loss, again.seed) == ("vit", "LAS", 0)
    assert again.classes == run.classes and again.images == run.images
    for name in ("truth", "guess", "scores"):
        assert np.array_equal(getattr(again, name), getattr(run, name))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("day 1/1.png", "day 1/0.png", "line 3: tank/day 1/0.png is there twice"),
        (",copepod,copepod,", ",copepod,krill,", "'krill' has no score column"),
        (
            "vit,LAS,0,tank,day 1/1.png",
            "vit,LAS,9,tank,day 1/1.png",
            "line 3: the row belongs to another run",
        ),
        (",0.8", ",nan", "a score is not a number"),
        (",0.8", ",high", "could not convert"),
        (",0.8", ",0.8,1", "columns, not 10"),
        ("vit,LAS,0,", "vit,LAS,first,", "seed is 'first'"),
        ("truth,guess", "label,score", "give a table of predictions"),
    ],
)
def test_damaged_predictions_are_refused(tmp_path, old, new, message):
    path = write_predictions(tmp_path, run_of(n=20))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SettingError, match=message):
        read_predictions(path)


def test_the_command(tmp_path):
    for run in (run_of(seed=0), run_of(seed=1), run_of("beit", skill=0.6)):
        folder = tmp_path / f"{run.row}-{run.seed}"
        (folder / "tracking-spool" / "files").mkdir(parents=True)
        write_predictions(folder, run)
        write_predictions(folder / "tracking-spool" / "files", run)  # waits to be sent
    out = tmp_path / "table.csv"
    text = CliRunner().invoke(compare_command, [str(tmp_path), "--csv", str(out)])
    assert text.exit_code == 0 and "vit" in text.output, text.output
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    found = CliRunner().invoke(compare_command, [str(tmp_path), "--json"])
    table = json.loads(found.output)
    assert [row["seeds"] for row in table["rows"]] == [[0, 1], [0]]
    assert float(rows[1]["p_holm"]) == table["rows"][1]["p_holm"]
    assert float(rows[0]["macro_f1_low"]) == table["rows"][0]["macro_f1"]["low"]
    assert set(table["rows"][0]["per_class"]) == set(CLASSES)
    with pytest.raises(SettingError, match=f"holds no {PREDICTIONS}"):
        read_runs([str(tmp_path / "vit LAS-0" / "tracking-spool")])


def test_trainings_that_differ_in_more_than_the_seed_are_told(tmp_path):
    def train(seed, rate, weights="imagenet"):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir(exist_ok=True)
        write_predictions(folder, run_of(seed=seed))
        recipe = {"rate": rate, "seed": seed}
        identity = {"network": "vit", "initial_weights": weights, "recipe": recipe}
        (folder / "config.json").write_text(json.dumps({"identity": identity}))

    train(0, 0.1)
    train(1, 0.1)
    quiet = CliRunner().invoke(compare_command, [str(tmp_path)])
    assert quiet.exit_code == 0 and quiet.stderr == ""
    train(1, 0.2, "starter")
    told = CliRunner().invoke(compare_command, [str(tmp_path)])
    assert told.exit_code == 0 and told.stdout == quiet.stdout
    assert "differ in more than the seed" in told.stderr
    assert 'initial_weights ("imagenet", "starter"); recipe.rate (0.1, 0.2)' in told.stderr


@pytest.mark.slow
# MLflow's own queries use what SQLAlchemy 2.1 deprecates
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_runs_come_from_mlflow_too(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from pi10_classifier.tracking.run import open_run, sync

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with open_run("sea", "vit LAS", folder=tmp_path / "out") as parent:
        for seed in (0, 1):
            with parent.child(f"seed {seed}") as child:
                child.artifact(write_predictions(tmp_path, run_of(seed=seed)))
    run_id = next(run.run_id for run in sync(tmp_path) if run.name == "vit LAS")
    assert sorted(run.seed for run in read_runs([f"runs:/{run_id}"])) == [0, 1]
    with pytest.raises(SettingError, match="runs:/0123"):
        read_runs(["runs:/0123"])
