"""EcoTaxa's own formulas give the densities of bins.csv, whole and drawn by the minute."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import support
from ecotaxa_import import densities, read_bundles
from ecotaxa_runs import (
    Survey,
    Write,
    assert_same,
    per_m3,
)

from pi10_classifier.export.ecotaxa.draw import choose
from pi10_classifier.simulate import encode_tiff
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import join, read_underway


def test_formulas_give_the_densities_of_the_bins(survey: Survey, write: Write) -> None:
    done = write(survey.path)
    rows = read_bundles(done.paths)
    assert done.objects == len(rows) == len(survey.truth)
    assert_same(densities(rows, "object_predicted"), survey.path)
    assert not done.left_out and not done.altered and not done.without_density
    # and what the water held, by the instrument's own counters
    passed: Counter[str] = Counter()
    for tar in (survey.path.parent / "cruise").glob("*.tar"):
        table = support.tar_of(tar)["HitsMisses.txt"].decode().split()
        passed[f"pia7.2024-06-24.{tar.stem}"] = sum(int(n) for row in table for n in row.split(","))
    for name, found in densities(rows, "acq_instrument").items():
        assert found == pytest.approx(passed[name[0]] / 0.340), name


def test_samples_have_what_the_ship_measured(run: Path, write: Write) -> None:
    bins = {row["bin"]: row for row in support.csv_of(run / "bins.csv") if row["bin"]}
    minutes = sorted({row["minute"] for row in support.csv_of(run / "counts.csv")} - {""})
    readings = [f"{minute},{12 + place / 1000},4" for place, minute in enumerate(minutes)]
    (run / "tsg.csv").write_text("\n".join(["time,temperature,flags", *readings]) + "\n", "utf-8")
    join(run, Readings((run / "tsg.csv",)), 60)
    done = write(run)
    assert "'temperature' is taken for temperature of the sea water" in done.notes[0]
    means = read_underway(run).by_bin
    seen = set()
    for row in read_bundles(done.paths):
        name = row["sample_id"]
        assert float(row["sample_temperature"]) == means[name]["temperature"].mean
        # the sample's own flags keep their column
        assert float(row["sample_underway_flags"]) == 4
        assert row["sample_flags"] == bins[name]["flags"]
        seen.add(name)
    assert seen == set(bins)


def test_a_draw_by_minute_keeps_the_total_and_is_unbiased_for_each_class(
    survey: Survey, write: Write
) -> None:
    rows = read_bundles(write(survey.path, per_minute=3, seed=5).paths)
    assert set(Counter(row["acq_id"] for row in rows).values()) == {3}
    total = densities(rows, "acq_instrument")
    wanted: Counter[str] = Counter()
    for (name, _), value in per_m3(survey.path).items():
        wanted[name] += value  # type: ignore[assignment]
    for (name, _), value in total.items():
        assert value == pytest.approx(wanted[name], rel=1e-5)
    parts = {path.stem: support.rows_of_part(path)
             for path in (survey.path / "predictions.parquet").glob("*.parquet")}  # fmt: skip
    minutes = {
        (row["bin"], row["minute"]): row for row in support.csv_of(survey.path / "counts.csv")
    }
    draws: dict[tuple[str, str], list[float]] = {key: [] for key in per_m3(survey.path)}
    for seed in range(60):
        sums: Counter[tuple[str, str]] = Counter()
        for stem, places in choose(survey.path, 3, seed).rows.items():
            for row in (parts[stem][place] for place in places):
                minute = minutes[row["bin"], f"{row['datetime']:%Y-%m-%dT%H:%M:00Z}"]
                passed = int(minute["hits"]) + int(minute["misses"])
                sums[row["bin"], row["label"]] += passed / 3 / 0.340  # type: ignore[assignment]
        for key, values in draws.items():
            values.append(sums[key])
    for key, value in per_m3(survey.path).items():
        error = np.std(draws[key], ddof=1) / np.sqrt(len(draws[key]))
        assert abs(np.mean(draws[key]) - value) <= 4.5 * error + 1e-3 * value, key


def test_a_minute_without_hits_and_misses_has_no_subsampling(
    tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    files = support.bin_members(40)
    rows = files["HitsMisses.txt"].split(b"\n")
    rows[4] = b"NA,NA"
    files["HitsMisses.txt"] = b"\n".join(rows)
    support.write_tar(tmp_path / "in/1450.tar", files)
    lone = support.bin_members(10, support.START + timedelta(minutes=10), 1)
    del lone["HitsMisses.txt"]
    support.write_tar(tmp_path / "in/1500.tar", lone)
    support.write_folder(tmp_path / "in/loose", {"x.tif": support.particle(5)})
    run = classified(tmp_path / "in")
    done = write(run)
    objects = read_bundles(done.paths)
    assert done.without_density == 1 + 10 + 1
    empty = {row["acq_id"] for row in objects if not row["acq_sub_part"]}
    assert len(empty) == 12
    volumes = {row["sample_id"]: row["sample_tot_vol"] for row in objects}
    assert volumes == {"pia7.2024-06-24.1450": "306", "pia7.2024-06-24.1500": "",
                       "CEND0824.unnamed": ""}  # fmt: skip
    assert_same(densities(objects, "object_predicted"), run)


def test_blank_images_are_objects_too_for_they_stand_for_water(
    tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    files = support.bin_members(40)
    blank = np.full((30, 30, 3), 235, np.uint8)
    for number in range(0, 40, 3):
        when = support.START + timedelta(seconds=15 * number)
        files[support.name_of(number)] = encode_tiff(blank, when, 50.25, -4.2)
    support.write_tar(tmp_path / "in/1450.tar", files)
    run = classified(tmp_path / "in")
    rows = read_bundles(write(run).paths)
    assert sum(row["object_predicted"] == "no_particle" for row in rows) == 14
    assert_same(densities(rows, "object_predicted"), run)


def test_the_water_of_a_minute_without_a_picture_left_is_not_counted(
    survey: Survey, write: Write, tmp_path: Path
) -> None:
    cruise = survey.path.parent / "cruise"
    moved = Path(shutil.copytree(cruise, tmp_path / "elsewhere"))
    first = {row["member"] for row in survey.rows
             if f"{row['datetime']:%H%M}" == "1450"}  # fmt: skip
    files = support.tar_of(moved / "1450.tar")
    kept = {name: data for name, data in files.items() if name not in first}
    support.write_tar(moved / "1450.tar", kept)
    done = write(survey.path, moved={str(cruise): str(moved)})
    rows = [row for row in read_bundles(done.paths) if row["sample_id"].endswith("1450")]
    assert {row["sample_tot_vol"] for row in rows} == {"306"}
    counts = [row for row in support.csv_of(survey.path / "counts.csv")
              if row["bin"].endswith("1450") and row["minute"][11:16] != "14:50"]  # fmt: skip
    wanted = sum(float(row["raised_count"]) for row in counts) / 0.306
    (found,) = densities(rows, "acq_instrument").values()
    assert found == pytest.approx(wanted, rel=1e-4)
