"""EcoTaxa bundles are split, whole or not there, and hold what EcoTaxa takes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import support
from ecotaxa_import import densities, read_bundles
from ecotaxa_runs import (
    Survey,
    Write,
    assert_same,
    change_part,
    export,
    listed,
)

from pi10_classifier.errors import SettingError
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.ecotaxa.bundles import MOST_TABLES, Bundles
from pi10_classifier.export.ecotaxa.export import write_bundles
from pi10_classifier.export.ecotaxa.objects import Layout
from pi10_classifier.export.taxa import read_taxa


def test_bundles_are_split_and_each_is_whole(survey: Survey, write: Write, tmp_path: Path) -> None:
    size = 100_000
    done = write(survey.path, most_bytes=size)
    rows = read_bundles(done.paths)
    assert {row["object_id"] for row in rows} == set(survey.truth)
    assert_same(densities(rows, "object_predicted"), survey.path)
    count = len(done.paths)
    assert count > 3
    assert [path.name for path in done.paths] == [f"b-{n}.zip" for n in range(1, count + 1)]
    sizes = [path.stat().st_size for path in done.paths]
    assert max(sizes) <= size and min(sizes[:-1]) > size / 2
    assert not (tmp_path / "b.zip").exists()


def test_no_bundle_has_more_tables_than_ecotaxa_takes(tmp_path: Path) -> None:
    with Bundles(tmp_path / "b.zip", 10**9) as bundles:
        for number in range(MOST_TABLES + 1):
            place = bundles.add_picture(f"{number}", f"images/{number}.png", b"x")
            bundles.add_table(place, f"{number}", f"ecotaxa_{number}.tsv", ["a\n"])
        paths = bundles.publish()
    counts = [len(zipfile.ZipFile(path).namelist()) for path in paths]
    assert counts == [2 * MOST_TABLES, 2]


def test_the_same_run_gives_the_same_bytes(
    survey: Survey, tmp_path: Path, facts: DatasetFacts
) -> None:
    for name, threads in (("a.zip", 1), ("b.zip", 3)):
        write_bundles(
            survey.path, tmp_path / name, facts, read_taxa(), per_minute=2, threads=threads
        )
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_cells_that_ecotaxa_cannot_hold_are_altered_and_listed(run: Path, write: Write) -> None:
    long_id = "x" * 300

    def change(cells: dict[str, list[Any]]) -> None:
        cells["score"][0] = float("nan")
        cells["score_copepod"][1] = float("-inf")
        cells["latitude"][2] = 91.0
        cells["flags"][3] = "flag;" * 60
        cells["particle_id"][4] = long_id
        cells["flags"][5] = 'a "quoted"\tflag'

    change_part(run, change)
    done = write(run)
    rows = read_bundles(done.paths)
    assert done.altered == {"emptied": 3, "shortened": 1, "replaced": 1}
    assert {(line["outcome"], line["reason"]) for line in listed(done)} == {
        ("emptied", "object_score"), ("emptied", "object_score_copepod"), ("emptied", "object_lat"),
        ("shortened", "object_flags"), ("replaced", "object_id"),
    }  # fmt: skip
    assert any(line["particle_id"] == long_id for line in listed(done))
    assert 'a "quoted" flag' in {row["object_flags"] for row in rows}
    assert len(rows) == len(support.rows_of(run))


def test_a_stop_half_way_leaves_nothing(survey: Survey, write: Write, tmp_path: Path) -> None:
    def stop(done: int, wanted: int) -> None:
        assert 0 < done <= wanted
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(survey.path, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_names_that_ecotaxa_misreads_are_refused(survey: Survey, write: Write) -> None:
    with pytest.raises(SettingError, match="UVP6"):
        write(survey.path, name="cruise_Images.zip")
    with pytest.raises(SettingError, match=r"\.zip"):
        write(survey.path, name="bundle.tar")


def test_a_part_or_journal_that_is_damaged_is_told(run: Path, write: Write, tmp_path: Path) -> None:
    for folder, suffix in (("journal", "json"), ("predictions.parquet", "parquet")):
        path = next(path for path in (run / folder).glob(f"*.{suffix}") if path.stem != "settings")
        path.write_bytes(b"{")
        with pytest.raises(SettingError, match="cannot be read"):
            write(run)
    assert not (tmp_path / "b.zip").exists()


def test_score_columns_are_distinct_and_as_many_as_ecotaxa_takes() -> None:
    layout = Layout.of(["Acartia sp.", "acartia_sp", "été", *(f"c{n}" for n in range(600))])
    names = list(layout.scores.values())
    assert names[:3] == ["object_score_acartia_sp", "object_score_acartia_sp_2", "object_score_t"]
    free = [name for name, kind in zip(layout.names, layout.types, strict=True)
            if kind == "[f]" and name.startswith("object_")]  # fmt: skip
    assert len(free) - 5 <= 500 and len(set(layout.names)) == len(layout.names)
    assert len(names) + len(layout.without_score) == 603


def test_the_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.zip"
    answer = export(run, out, "--per-minute", 2, "--seed", 3, "--json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["objects"] == 40
    assert "--overwrite" in str(export(run, out).exception)
    (tmp_path / "b-2.zip").write_bytes(b"of before")
    answer = export(run, out, "--overwrite")
    assert answer.exit_code == 0
    assert "240 objects, 120 of them validated, in 2 samples and 20 acquisitions" in answer.stdout
    assert "b-2.zip is of an earlier export" in answer.stderr
    assert (tmp_path / "b-2.zip").read_bytes() == b"of before"
    # what cannot be read costs an exit code of 3, and is told
    change_part(run, lambda cells: cells["member"].__setitem__(0, "no_such.tif"))
    answer = export(run, out, "--overwrite")
    assert answer.exit_code == 3
    assert "1 of 240 particles: the image is not there any more" in answer.stderr
