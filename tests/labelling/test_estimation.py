"""Precision and recall in the survey itself, by raised particles."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import support

from pi10_classifier.abundance.bin_correction import BinCells, corrected_bins
from pi10_classifier.abundance.correction import Predicted, corrected, effective_labels
from pi10_classifier.classify import Settings, classify
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import _rates, estimate
from pi10_classifier.labelling.estimation.scored import scores_of
from pi10_classifier.labelling.labels import LabelStore, verdicts
from pi10_classifier.labelling.sample import Design, Drawn, Moments, Totals, read_sample

CLASSES = ("copepod", "detritus", "artefact")
STRATA = {
    "copepod": Predicted(1000, 1000, 1, {"copepod": 80, "detritus": 20}),
    "detritus": Predicted(4000, 4000, 1, {"copepod": 10, "detritus": 90}),
}


def test_rates_are_of_raised_particles_with_limits_around_them() -> None:
    rates = _rates(STRATA, CLASSES, seed=0)
    precision, recall = rates["copepod"]
    assert precision[0] == pytest.approx(0.8)
    assert recall[0] == pytest.approx(800 / (800 + 400))
    for value, low, high in (precision, recall):
        assert 0 < low < value < high < 1
    assert rates["artefact"] == ((None,) * 3, (None,) * 3), "the model calls nothing so"


def test_particles_drawn_for_certain_count_by_their_factor() -> None:
    known = Predicted(1500, 1e6, 1000, {"copepod": 10}, {"detritus": 1000})
    precision, recall = _rates({"copepod": known}, CLASSES, seed=0)["copepod"]
    assert precision[0] == pytest.approx(500 / 1500)
    assert recall[0] == pytest.approx(1)


def test_a_sample_of_one_predicted_class_is_worth_its_labels() -> None:
    known = {"copepod": Predicted(1000, 1000, 1, {"copepod": 80, "detritus": 20})}
    assert effective_labels(known, CLASSES) == pytest.approx([100] * 3)
    found = effective_labels(STRATA, CLASSES)[0]
    assert found is not None and 0 < found != pytest.approx(200)


def cells_of(raised: list[float], labels: dict[str, int]) -> BinCells:
    total = np.array(raised, np.float64)
    counts = np.zeros((len(raised), len(CLASSES)))
    counts[0] = [labels.get(name, 0) for name in CLASSES]
    return BinCells(total, total, np.ones(len(raised)), counts, np.zeros_like(counts))


def test_a_bin_that_is_the_stratum_has_its_interval_and_parts_add_up() -> None:
    whole = {name: cells_of([its.raised], its.labels) for name, its in STRATA.items()}
    total, low, high = corrected_bins(STRATA, whole, CLASSES, draws=20_000)
    for column, its in enumerate(corrected(STRATA, CLASSES).values()):
        assert total[0, column] == pytest.approx(its.total)
        assert low[0, column] == pytest.approx(its.low, rel=0.05, abs=1)
        assert high[0, column] == pytest.approx(its.high, rel=0.05, abs=1)
    parts = {
        name: cells_of([0.3 * its.raised, 0.7 * its.raised], its.labels)
        for name, its in STRATA.items()
    }
    split, low, high = corrected_bins(STRATA, parts, CLASSES)
    assert split.sum(axis=0) == pytest.approx(total[0])
    copepods = CLASSES.index("copepod")
    assert high[0, copepods] / low[0, copepods] > 1.2


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("estimated") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    _, sample = draw(out, 90)
    label = support.CLASSES[0]
    store = LabelStore(out, support.CLASSES)
    store.add([(particle.particle_id, label) for particle in sample], "Anna")
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def estimated(run: Path):
    known = verdicts(LabelStore(run, support.CLASSES).read())
    design = Design.read(run / "validation/design.json")
    return estimate(run, design, read_sample(run), known, support.CLASSES)


def test_bins_of_a_run_add_up_to_their_stratum(run: Path) -> None:
    done = estimated(run)
    assert done.outside == 0
    of_strata = {row.label: row.per_litre * row.litres for row in done.rows}
    of_bins = dict.fromkeys(of_strata, 0.0)
    for row in done.bins:
        assert row.note or row.per_litre_low <= row.per_litre <= row.per_litre_high
        of_bins[row.label] += (row.per_litre or 0.0) * row.litres
    assert of_bins == pytest.approx(of_strata, rel=1e-4)
    with (run / "validation/corrected_bins.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(done.bins) > 0


def test_what_does_not_belong_together_is_refused(run: Path) -> None:
    counts = run / "counts.csv"
    whole = counts.read_text()
    head, *rows = whole.splitlines()
    bins = {row.split(",")[0] for row in rows}
    counts.write_text("\n".join([head, *(row for row in rows if not row.startswith(min(bins)))]))
    with pytest.raises(SettingError, match="before the run changed"):
        estimated(run)
    counts.write_text(whole)
    (run / "validation/labels.csv").unlink()
    LabelStore(run, support.CLASSES).add([("pia9.elsewhere", support.CLASSES[0])], "Anna")
    with pytest.raises(SettingError, match="another run or"):
        estimated(run)
    design = Design.read(run / "validation/design.json")
    del design.strata["all"][read_sample(run)[0].predicted]
    design.write(run / "validation/design.json")
    with pytest.raises(SettingError, match=r"changed|two samples"):
        estimated(run)


def test_a_labelled_particle_outside_the_sample_is_counted(run: Path) -> None:
    LabelStore(run, support.CLASSES).add([("pia9.elsewhere", support.CLASSES[0])], "Anna")
    assert estimated(run).outside == 1


def test_scores_are_used_where_the_sample_has_them(run: Path) -> None:
    (run / "validation/labels.csv").unlink()
    _, sample = draw(run, 150)
    rows = {row["particle_id"]: row for row in support.rows_of(run)}
    scores = {name: np.clip(row["score_copepod"], 1e-4, 1 - 1e-4) for name, row in rows.items()}
    odds = {name: np.log(score / (1 - score)) for name, score in scores.items()}
    middle = np.median(list(odds.values()))
    label_of = {
        its.particle_id: "copepod" if odds[its.particle_id] > middle else "artefact"
        for its in sample
    }
    LabelStore(run, support.CLASSES).add(list(label_of.items()), "Anna")
    found = {row.label: row for row in estimated(run).rows}
    assert {row["label"] for row in rows.values()} == {sample[0].predicted}, "one predicted class"
    sure = [its for its in sample if its.certain]
    chance = [its.particle_id for its in sample if not its.certain]
    certain = {its.particle_id for its in sure}
    y = np.array([label_of[name] == "copepod" for name in chance], float)
    z = np.array([odds[name] for name in chance])
    factor = np.array([rows[name]["raising_factor"] for name in rows if name not in certain])
    rest = np.array([odds[name] for name in rows if name not in certain])
    effective = factor.sum() ** 2 / (factor**2).sum()
    slope = np.polyfit(z, y, 1)[0] / (1 + len(z) / effective)
    share = y.mean() - slope * (z.mean() - np.average(rest, weights=factor))
    total = share * factor.sum() + sum(
        its.raising_factor for its in sure if label_of[its.particle_id] == "copepod"
    )
    row = found["copepod"]
    assert row.ppi_per_litre == pytest.approx(total / row.litres, rel=1e-6)
    assert row.ppi_low < row.ppi_per_litre < row.ppi_high
    assert row.ppi_high - row.ppi_low < 0.95 * (row.per_litre_high - row.per_litre_low)
    assert found["artefact"].ppi_per_litre is None, "no class of the model: no score tells it"

    # a sample of before scores were in it
    design = Design.read(run / "validation/design.json")
    design.scores = {}
    design.write(run / "validation/design.json")
    for row in estimated(run).rows:
        assert (row.ppi_per_litre, row.ppi_low, row.ppi_high) == (None, None, None)
        assert row.per_litre == found[row.label].per_litre


def test_what_is_no_particle_is_not_told_by_scores() -> None:
    drawn = [
        Drawn(place, f"p{place}", "all", predicted, "s", "m", "b", "", 2.0, False, 0.1, "part", 0,
              {"copepod": 0.5})
        for place, predicted in enumerate(("copepod", "no_particle"))
    ]  # fmt: skip
    totals = {name: Totals(10, 20.0, 40.0, 2.0) for name in ("copepod", "no_particle")}
    moments = {name: {"copepod": Moments(10.0, 30.0)} for name in totals}
    found = scores_of(totals, moments, drawn, {"p0": "copepod", "p1": "copepod"}, CLASSES)
    assert list(found) == ["copepod"]
    its = found["copepod"]
    assert (its.mean[0], its.variance[0], its.effective) == pytest.approx((0.5, 1.25, 10))
    assert its.log_odds.tolist() == [[0.0, 0.0, 0.0]], "even odds, and two classes without scores"
