"""Accuracy on the survey, by the weights of the sample's design."""

from __future__ import annotations

import shutil
from pathlib import Path

import labelled_run
import numpy as np
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.records import Sample
from pi10_classifier.evaluation.evaluate import evaluate
from pi10_classifier.evaluation.scoring import Scored
from pi10_classifier.evaluation.survey import _weights, judge_survey, sampled
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.sample import Drawn, Totals, read_sample
from pi10_classifier.labelling.suggest import suggest
from pi10_classifier.model.session import Model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> labelled_run.LabelledRun:
    return labelled_run.build(tmp_path_factory.mktemp("survey"), size=150)


@pytest.fixture
def run(made: labelled_run.LabelledRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "survey"))


def truth_of(made: labelled_run.LabelledRun) -> tuple[float, float]:
    """Share of the particles in the water, and of the images, that the run calls rightly."""
    factor = np.array([float(row["raising_factor"]) for row in made.rows])  # type: ignore[arg-type]
    right = np.array([row["label"] == made.truth[str(row["particle_id"])] for row in made.rows])
    return float((factor * right).sum() / factor.sum()), float(right.mean())


def test_the_survey_s_own_figures_come_out(made) -> None:
    found = evaluate(Model.load(made.package), [made.path])["surveys"]["survey"]
    survey, images = truth_of(made)
    assert abs(survey - images) > 0.005, "else the weights show nothing"
    accuracy = found["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    # twice the half width: the sample hangs on the folder's name, and 95 % would fail at times
    assert abs(accuracy["value"] - survey) < accuracy["high"] - accuracy["low"]
    assert found["labelled"] == 150
    assert found["of_no_class"] == sum(made.truth[d.particle_id] == "artefact" for d in made.sample)
    assert found["covered"] == 1
    assert 20 < found["effective"] <= 150
    assert set(found["per_class"]) == set(support.CLASSES)


def test_all_particles_labelled_give_the_truth_itself(made, run: Path) -> None:
    _, sample = draw(run, len(made.rows))
    assert len(sample) == len(made.rows)
    labels = [(one.particle_id, made.truth[one.particle_id]) for one in sample]
    LabelStore(run, support.CLASSES).add(labels, "Anna")
    found = evaluate(Model.load(made.package), [run])["surveys"]["survey"]
    survey, images = truth_of(made)
    assert found["accuracy"]["value"] == pytest.approx(survey, abs=2e-4)
    assert found["accuracy_of_images"] == pytest.approx(images, abs=2e-4)
    factor = {str(row["particle_id"]): float(row["raising_factor"]) for row in made.rows}  # type: ignore[arg-type]
    total = sum(factor.values())
    for label, row in found["per_class"].items():
        mine = sum(value for name, value in factor.items() if made.truth[name] == label)
        assert row["share"] == pytest.approx(mine / total, abs=2e-4)


def test_weights_add_up_to_the_raised_total_of_what_has_labels() -> None:
    totals = {
        ("all", "a"): Totals(100, 500.0, 0, 9, 4), ("all", "b"): Totals(10, 80.0, 0, 50, 2),
        ("all", "c"): Totals(5, 20.0, 0, 4, 1),
    }  # fmt: skip

    def one(order: int, predicted: str, factor: float, certain: bool = False) -> Drawn:
        return Drawn(order, str(order), "all", predicted, "s", "m", "b", "", factor, certain, 1.0,
                     "p", order)  # fmt: skip

    chosen = [one(0, "a", 4), one(1, "a", 6), one(2, "b", 50, True), one(3, "b", 2)]
    found = _weights(totals, list(enumerate(chosen)))
    assert found.weight.tolist() == [250, 250, 50, 30]
    assert found.group.tolist() == [0, 0, -1, 1]
    assert found.covered == pytest.approx(580 / 600)


def test_the_intervals_hold(tmp_path: Path, made) -> None:
    """Samples of one population, drawn anew: their intervals have the true share within."""
    survey, _ = truth_of(made)
    label = {str(row["particle_id"]): str(row["label"]) for row in made.rows}
    run = Path(shutil.copytree(made.path, tmp_path / "survey"))
    held, seeds = 0, 40
    for seed in range(seeds):
        draw(run, 80, seed=seed, overwrite=True)
        sample = read_sample(run)
        labels = [(one.particle_id, made.truth[one.particle_id]) for one in sample]
        LabelStore(run, support.CLASSES).add(labels, "Anna")
        place = {name: number for number, name in enumerate(support.CLASSES)}
        samples = tuple(Sample("survey", n.particle_id, "", made.truth[n.particle_id])
                        for n in sample)  # fmt: skip
        scores = np.eye(3)[[place[label[s.member]] for s in samples]]
        found = judge_survey(Scored(samples, scores), support.CLASSES, run)
        assert found
        held += found["accuracy"]["low"] <= survey <= found["accuracy"]["high"]
    assert held >= 0.85 * seeds  # 95 % wanted; below it by chance once in 10,000 times


def test_suggested_particles_are_no_part_of_the_survey(made, run: Path) -> None:
    before = evaluate(Model.load(made.package), [run])
    chosen = suggest(run, 20)
    labels = [(one.particle_id, made.truth[one.particle_id]) for one in chosen]
    LabelStore(run, support.CLASSES).add(labels, "Anna")
    after = evaluate(Model.load(made.package), [run])
    assert after["surveys"] == before["surveys"]
    assert after["all"]["n"] > before["all"]["n"]
    samples = [Sample("survey", name, "", "copepod") for name in (
        chosen[0].particle_id, made.sample[0].particle_id)]  # fmt: skip
    scored = Scored((*samples, Sample("other", "x", "", "copepod")), np.eye(3))
    part, weight, out = sampled(scored, {"survey": run})
    assert [s.member for s in part.samples] == [made.sample[0].particle_id, "x"]
    assert weight.tolist() == [1, 1]
    assert out == 1


def test_the_command_shows_the_survey_and_writes_the_page(made, tmp_path: Path) -> None:
    words = ("--model", made.package, "--data", made.path / "validation", "--out", tmp_path)
    done = CliRunner().invoke(pi10, ["evaluate", *map(str, words)])
    assert done.exit_code == 0, done.output
    assert "on the survey survey, by raised particles: right for" in done.output
    page = (tmp_path / "evaluation.html").read_text("utf-8")
    assert 'id="survey"' in page
    assert "150 labelled images" in page
    ran = Model.load(made.package, "auto").runs_on
    told = f"Run by {ran['library']} {ran['version']} on <code>{ran['device']}</code>"
    assert f"{told} in {ran['precision']} (<code>{ran['graph']}</code>)." in page
