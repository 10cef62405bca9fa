"""Drawing from a run: deterministic, nested, told where it would lose labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import support

from pi10_classifier.classify import Settings, classify
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling import draw as drawing
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.sample import Design, read_sample


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validated") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_same_seed_draws_the_same_and_a_larger_size_keeps_it(run: Path) -> None:
    _, some = draw(run, 20)
    assert draw(run, 20)[1] == some == read_sample(run)
    _, more = draw(run, 60)
    assert {one.particle_id for one in some} < {one.particle_id for one in more}
    _, other = draw(run, 20, seed=1)
    assert {one.particle_id for one in other} != {one.particle_id for one in some}


def test_what_is_told_of_a_particle_is_its_row(run: Path) -> None:
    rows = {row["particle_id"]: row for row in support.rows_of(run)}
    design, sample = draw(run, 40)
    assert [one.order for one in sample] == list(range(40))
    for one in sample:
        row = rows[one.particle_id]
        assert (one.source, one.member, one.predicted) == (
            row["source"],
            row["member"],
            row["label"],
        )
        assert one.raising_factor == row["raising_factor"]
        assert 0 < one.probability <= 1
        assert one.scores == {name: row[f"score_{name}"] for name in support.CLASSES}
    (classes,) = design.strata.values()
    assert sum(its.particles for its in classes.values()) == len(rows)
    assert sum(its.raised for its in classes.values()) == pytest.approx(
        sum(row["raising_factor"] for row in rows.values())
    )
    for predicted, sums in design.scores["all"].items():
        here = [row for row in rows.values() if row["label"] == predicted]
        for name, moments in sums.items():
            score = np.clip([row[f"score_{name}"] for row in here], 1e-4, 1 - 1e-4)
            terms = np.array([row["raising_factor"] for row in here]) * np.log(score / (1 - score))
            assert moments.first == pytest.approx(terms.sum(), rel=1e-6)
    assert Design.read(run / "validation/design.json") == design
    assert Design.read(run / "validation/design.json") == design


def test_memory_is_bound_by_the_sample_and_what_is_pruned_changes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = draw(run, 10)
    prune = drawing._Candidates._prune
    add = drawing._Candidates.add
    kept: list[int] = []

    def at_once(self, *words) -> None:
        add(self, *words)
        prune(self)
        kept.append(len(self._kept))

    monkeypatch.setattr(drawing._Candidates, "add", at_once)
    assert draw(run, 10)[1] == whole
    assert max(kept) <= 2 * 10, "the soonest by chance, and the largest factors"


def test_strata_are_days_bins_or_those_of_a_file(run: Path, tmp_path: Path) -> None:
    bins = {row["bin"] for row in support.rows_of(run)}
    design, sample = draw(run, 6, by="bin")
    assert set(design.strata) == bins
    assert len(sample) == 6 * len(bins)
    assert set(draw(run, 6, by="day")[0].strata) == {"2024-06-24"}
    table = tmp_path / "strata.csv"
    table.write_text(f"bin,stratum\n{min(bins)},north\n")
    assert set(draw(run, 6, by=str(table))[0].strata) == {"north"}
    with pytest.raises(SettingError, match="cruise, day, bin, or a CSV"):
        draw(run, 6, by="week")


def test_labels_do_not_leave_the_sample_unseen(run: Path) -> None:
    _, sample = draw(run, 20)
    LabelStore(run, support.CLASSES).add([(sample[0].particle_id, support.CLASSES[0])], "a")
    draw(run, 30)
    for more in ({"size": 10}, {"size": 30, "seed": 2}, {"size": 30, "by": "bin"}):
        with pytest.raises(SettingError, match="--overwrite"):
            draw(run, **more)
    draw(run, 10, overwrite=True)
    assert LabelStore(run, support.CLASSES).read(), "labels stay"


def test_what_cannot_be_drawn_from_says_why(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no predictions"):
        draw(tmp_path, 10)
    with pytest.raises(SettingError, match="--n is 0"):
        draw(run, 0)
    for part in (run / "predictions.parquet").glob("*.parquet"):
        table = pq.read_table(part)
        at = table.schema.get_field_index("raising_factor")
        nothing = pa.nulls(len(table), pa.float64())
        pq.write_table(table.set_column(at, table.schema.field(at), nothing), part)
    with pytest.raises(SettingError, match=r"HitsMisses\.txt"):
        draw(run, 10)
