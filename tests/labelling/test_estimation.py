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
from pi10_classifier.labelling.labels import LabelStore, verdicts
from pi10_classifier.labelling.sample import Design, read_sample

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
