"""Suggestions: what teaches most, apart from the sample, in one pass with bounded memory."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import labelled_run
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import support

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.crops import CropCache
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import estimate
from pi10_classifier.labelling.labelled import may_be_labelled
from pi10_classifier.labelling.labels import LabelStore, Verdicts, bring_in, verdicts
from pi10_classifier.labelling.sample import DESIGN, FOLDER, Design, Drawn, read_sample
from pi10_classifier.labelling.suggest import _central, _Pool, _spread_out, suggest
from pi10_classifier.labelling.suggestions import read_suggestions, without_suggested


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> labelled_run.LabelledRun:
    return labelled_run.build(tmp_path_factory.mktemp("suggest"), size=60)


@pytest.fixture
def run(made: labelled_run.LabelledRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "survey"))


def margins(made: labelled_run.LabelledRun) -> dict[str, float]:
    names = [f"score_{name}" for name in support.CLASSES]
    found = {}
    for row in made.rows:
        best = sorted(float(row[name]) for name in names)  # type: ignore[arg-type]
        found[str(row["particle_id"])] = best[-1] - best[-2]
    return found


def test_uncertain_and_typical_particles_outside_the_sample(run: Path, made) -> None:
    chosen = suggest(run, 20)
    assert Counter(one.why for one in chosen) == {"uncertain": 10, "typical-of-cluster": 10}
    assert len({one.particle_id for one in chosen}) == 20
    assert not {one.particle_id for one in chosen} & {one.particle_id for one in made.sample}
    margin = margins(made)
    told = [one for one in chosen if one.why == "uncertain"]
    for one in told:
        assert one.value == pytest.approx(margin[one.particle_id], abs=1e-6)
    assert min(one.value for one in told) == pytest.approx(
        min(value for name, value in margin.items()
            if name not in {one.particle_id for one in made.sample}), abs=1e-6,
    )  # fmt: skip
    assert [one.why for one in chosen[:4]] == ["uncertain", "typical-of-cluster"] * 2
    assert suggest(run, 20) == chosen
    assert CropCache(run).fill(chosen) == {}
    assert all(CropCache(run).read(one) for one in read_suggestions(run))


def test_a_column_of_novelty_is_used(run: Path) -> None:
    top = {}
    for number, part in enumerate(sorted((run / "predictions.parquet").glob("*.parquet"))):
        table = pq.read_table(part)
        novelty = np.random.default_rng(number).random(table.num_rows)
        novelty[::7] = np.nan
        top |= dict(zip(table["particle_id"].to_pylist(), novelty.tolist(), strict=True))
        pq.write_table(table.append_column("novelty", pa.array(novelty, pa.float32())), part)
    everything = suggest(run, 30)
    chosen = [one for one in everything if one.why == "novel"]
    assert len(chosen) == 10
    others = {one.particle_id for one in everything if one.why == "uncertain"}
    others |= {one.particle_id for one in read_sample(run)}
    best = max(value for name, value in top.items() if name not in others and value == value)
    assert max(one.value for one in chosen) == pytest.approx(best, abs=1e-6)
    assert all(one.value == pytest.approx(top[one.particle_id], abs=1e-6) for one in chosen)


def test_labelled_suggestions_stay_and_are_not_suggested_again(run: Path, made) -> None:
    first = suggest(run, 10)
    store = LabelStore(run, support.CLASSES)
    given = [(one.particle_id, made.truth[one.particle_id]) for one in first[:4]]
    found = bring_in(store, may_be_labelled(run), [*given, ("nobody", "copepod")], "Anna")
    assert (found.taken, found.unknown_ids) == (4, ["nobody"])
    again = suggest(run, 10)
    labelled = {one.particle_id for one in first[:4]}
    assert not labelled & {one.particle_id for one in again}
    assert labelled <= {one.particle_id for one in read_suggestions(run)}


def test_no_estimate_uses_a_suggestion(run: Path, made) -> None:
    def rows() -> object:
        store = LabelStore(run, support.CLASSES)
        design = Design.read(run / FOLDER / DESIGN)
        sample = read_sample(run)
        suggested = {one.particle_id for one in read_suggestions(run)}
        known = without_suggested(sample, verdicts(store.read()), suggested)
        assert len(known.label_of) == 60
        return estimate(run, design, sample, known, support.CLASSES)

    before = rows()
    chosen = suggest(run, 30)
    LabelStore(run, support.CLASSES).add([(one.particle_id, "copepod") for one in chosen], "Anna")
    assert rows() == before


def drawn(order: int, name: str) -> Drawn:
    return Drawn(order, name, "all", "copepod", "s", "m", "b", "", 1.0, False, 0.1, "p", order)


def test_a_suggestion_drawn_later_counts_from_when_its_turn_has_come() -> None:
    sample = [drawn(n, name) for n, name in enumerate("abcde")]

    def used(*labelled: str) -> set[str]:
        known = Verdicts(dict.fromkeys(labelled, "copepod"), ())
        return set(without_suggested(sample, known, {"d"}).label_of)

    assert used("a", "d") == {"a"}
    assert used("a", "b", "c", "d") == {"a", "b", "c", "d"}
    assert used("a", "d", "e") == {"a", "d", "e"}
    assert used("a", "x") == {"a"}


def test_an_enlarged_sample_keeps_its_labels(run: Path, made) -> None:
    suggest(run, 30)
    _, sample = draw(run, 90)
    assert {one.particle_id for one in made.sample} <= {one.particle_id for one in sample}


def test_what_is_left_is_suggested_and_no_more(run: Path, made) -> None:
    chosen = suggest(run, 1000)
    assert len(chosen) <= len(made.rows) - len(made.sample)
    assert len({one.particle_id for one in chosen}) == len(chosen)
    with pytest.raises(SettingError, match="--n is 0"):
        suggest(run, 0)


def test_a_pool_keeps_the_best_of_many_and_few_of_them() -> None:
    pool, rng = _Pool(50), np.random.default_rng(0)
    values = rng.random(20_000)
    for start in range(0, 20_000, 1000):
        some = values[start : start + 1000]
        places = np.stack([np.zeros(1000, np.int64), np.arange(start, start + 1000)], axis=1)
        pool.add(some, places, some[:, None])
        assert pool._count <= 1200
    best, places, _ = pool.candidates()
    assert best.tolist() == sorted(values.tolist(), reverse=True)[:50]
    assert values[places[:, 1]].tolist() == best.tolist()


def test_one_of_each_cluster_and_none_alike() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    label = np.repeat([0, 1, 2], [60, 30, 10])
    x = centres[label] + rng.normal(0, 0.3, (100, 2))
    rows, share = _central(x, 3, 0)
    assert label[rows].tolist() == [0, 1, 2]
    assert share.tolist() == [0.6, 0.3, 0.1]
    assert sorted(label[_spread_out(x, 3)].tolist()) == [0, 1, 2]
    assert len(_spread_out(np.zeros((5, 2)), 9)) == 5
