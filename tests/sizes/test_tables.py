"""Size tables of real runs: densities as in bins.csv, sums over single particles, refusals."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pi10_classifier import cli
from pi10_classifier.classify import classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.sizes.sums import Batch, MinuteFactors, SizeSums
from pi10_classifier.sizes.tables import SizeOptions, write_sizes

CLASSES = ("copepod", "detritus", "noncopepod")


@pytest.fixture(scope="module")
def run(cruise, package, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    return out


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def rows(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(run, out, by=lambda name: name, **options):
    out.mkdir(exist_ok=True)
    return write_sizes(run, CLASSES, by, SizeOptions(**options), out)


def test_densities_are_those_of_bins_csv(run, tmp_path):
    write(run, tmp_path / "t", volume="ellipsoid")
    sizes = {
        (row["stratum"], row["label"]): row
        for row in rows(tmp_path / "t/sizes.csv")
        if row["size_class"] == "all"
    }
    compared = 0
    for row in rows(run / "bins.csv"):
        if row["per_litre"]:
            ours = sizes[row["bin"], row["label"]]
            for name in ("per_m3", "per_m3_low", "per_m3_high"):
                theirs = 1000 * float(row[name.replace("m3", "litre")])
                assert float(ours[name]) == pytest.approx(theirs, rel=2e-5)
            compared += 1
    assert compared == 9


def test_sums_are_those_of_single_particles(run, tmp_path):
    done = write(run, tmp_path / "t", by=lambda _: "all")
    table = ds.dataset(run / "predictions.parquet").to_table()
    labels = np.array(table["label"].to_pylist())
    factors = table["raising_factor"].to_numpy()
    assert (
        sum(done.without_factor.values()) == (np.isnan(factors) & (labels != "no_particle")).sum()
    )
    esd, major, minor = (
        np.nan_to_num(table[name].to_numpy().astype(float))
        for name in ("esd_um", "major_um", "minor_um")
    )
    sphere, ellipsoid = np.pi / 6 * esd**3 * 1e-9, np.pi / 6 * major * minor**2 * 1e-9
    by_class = rows(tmp_path / "t/sizes.csv")
    for label in (*CLASSES, "living"):
        its = np.isin(labels, ["copepod", "noncopepod"] if label == "living" else [label])
        its &= ~np.isnan(factors)
        factor = factors[its]
        mine = [row for row in by_class if row["label"] == label]
        whole, parts = mine[0], mine[1:]
        m3 = float(whole["litres"]) / 1000
        for kind, volume in (("sphere", sphere), ("ellipsoid", ellipsoid)):
            name = f"biovolume_{kind}_mm3_per_m3"
            expected = (factor * volume[its]).sum() / m3
            assert float(whole[name]) == pytest.approx(expected, rel=2e-5)
            assert sum(float(row[name]) for row in parts) == pytest.approx(expected, rel=1e-4)
        assert int(whole["particles"]) == its.sum()
        assert int(whole["particles"]) == int(whole["without_size"]) + sum(
            int(row["particles"]) for row in parts
        )
    copepods = next(row for row in by_class if row["label"] == "copepod")
    assert float(copepods["carbon_sphere_mg_per_m3"]) == pytest.approx(
        0.0475 * float(copepods["biovolume_sphere_mm3_per_m3"]), rel=2e-5
    )
    assert not next(r for r in by_class if r["label"] == "living")["carbon_sphere_mg_per_m3"]
    spectrum = [r for r in rows(tmp_path / "t/size_spectrum.csv") if r["label"] == "living"]
    for row in spectrum:
        width = float(row["volume_to_mm3"]) - float(row["volume_from_mm3"])
        size = next(
            (r for r in by_class
             if (r["label"], r["size_class"]) == ("living", row["size_class"])), None
        )  # fmt: skip
        expected = float(size["biovolume_sphere_mm3_per_m3"]) / width if size else 0.0
        assert float(row["normalised_biovolume"]) == pytest.approx(expected, rel=1e-4)
        assert float(row["normalised_biovolume_low"]) <= expected * 1.0001
        assert float(row["normalised_biovolume_high"]) > expected
        assert (row["complete"] == "True") == (float(row["esd_from_um"]) >= 180)


def test_a_class_that_is_absent_is_zero_not_missing(run, tmp_path):
    out = tmp_path / "t"
    out.mkdir()
    write_sizes(run, (*CLASSES, "krill"), lambda _: "all", SizeOptions(), out)
    krill = [row for row in rows(out / "sizes.csv") if row["label"] == "krill"]
    assert [row["size_class"] for row in krill] == ["all"]
    assert float(krill[0]["per_m3"]) == 0 < float(krill[0]["per_m3_high"])
    assert krill[0]["biovolume_sphere_high"] == ""


@pytest.mark.parametrize(
    "options", [{"not_living": ("detrius",)}, {"carbon": ("krill=gallienne2001",)}]
)
def test_a_class_that_the_run_does_not_have_is_told(run, tmp_path, options):
    with pytest.raises(SettingError, match=r"which is no class of .*; they are"):
        write_sizes(run, CLASSES, lambda _: "all", SizeOptions(**options), tmp_path)


def test_batches_do_not_change_the_sums():
    rng = np.random.default_rng(0)
    factors = MinuteFactors(lambda name, bad: None if bad else name)
    for minute in range(20):
        row = {
            "bin": f"b{minute % 3}", "label": "x", "raised_count": "1", "litres": "34",
            "hits": "10", "misses": str(minute), "images": "12", "quality_l20": "14"[minute == 7],
        }  # fmt: skip
        factors.add(row, minute)
    n = 30_000
    minutes = rng.integers(-1, 21, n)
    bins, labels = rng.integers(0, 4, n), rng.integers(0, 3, n)
    sizes = {name: rng.lognormal(5.5, 0.5, n) for name in ("esd_um", "major_um", "minor_um")}
    sizes["esd_um"][::17] = np.nan
    made = []
    for step in (n, 777):
        sums = SizeSums()
        for start in range(0, n, step):
            part = slice(start, start + step)
            found = factors.of(["b0", "b1", "b2", "?"], bins[part], minutes[part])
            assert found[0] == ["b0", "b1", "b2"]
            its = {name: values[part] for name, values in sizes.items()}
            sums.add(Batch(["x", "no_particle", "y"], labels[part], *found, its))
        made.append(sums)
    one, many = made
    assert factors.left_out == 1
    # a minute belongs to one bin alone; the seventh is bad
    good = (bins == minutes % 3) & (minutes >= 0) & (minutes < 20) & (minutes != 7)
    assert one.without_factor["x"] == int((~good & (labels == 0)).sum())
    assert set(one.cells) == {(f"b{b}", label) for b in range(3) for label in "xy"}
    for key, cells in one.cells.items():
        assert {number: cell.particles for number, cell in cells.items()} == {
            number: cell.particles for number, cell in many.cells[key].items()
        }
        for number, cell in cells.items():
            other = many.cells[key][number]
            assert np.allclose(cell.total, other.total)
            assert np.allclose(cell.variance, other.variance)
            assert np.array_equal(cell.largest, other.largest)
        assert one.slopes[key].wwxx == pytest.approx(many.slopes[key].wwxx)


def test_bad_minutes_can_be_left_out(copy, tmp_path):
    table = copy / "counts.csv"
    lines = rows(table)
    for row in lines[: len(lines) // 2]:
        row["quality_l20"] = "4"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    every = write(copy, tmp_path / "a", by=lambda _: "all")
    good = write(copy, tmp_path / "b", by=lambda _: "all", without_bad=True)
    assert good.left_out > 0 and good.litres == every.litres - 34 * good.left_out


def test_a_table_without_raising_factors_is_read(copy, run, tmp_path):
    """As earlier versions wrote it: the factors are those of counts.csv."""
    for part in (copy / "predictions.parquet").glob("*.parquet"):
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["raising_factor"]), part)
    write(copy, tmp_path / "a")
    write(run, tmp_path / "b")
    assert (tmp_path / "a/sizes.csv").read_bytes() == (tmp_path / "b/sizes.csv").read_bytes()


def broken_count(run):
    text = (run / "counts.csv").read_text()
    (run / "counts.csv").write_text(text.replace(",34,", ",many,", 1))


def cut_columns(run):
    (run / "counts.csv").write_text("bin,minute\n")


def no_sizes(run):
    for part in (run / "predictions.parquet").glob("*.parquet"):
        pq.write_table(pa.table({"label": ["copepod"]}), part)


def damaged_part(run):
    next((run / "predictions.parquet").glob("*.parquet")).write_bytes(b"PAR1 and no more")


def no_density(run):
    header = (run / "counts.csv").read_text().splitlines()[0]
    (run / "counts.csv").write_text(header + "\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (broken_count, "counts.csv, line "),
        (cut_columns, "no column hits"),
        (no_sizes, "no column bin, datetime, esd_um"),
        (damaged_part, "remove the damaged part"),
        (no_density, "no minute in .* has a density"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_written(copy, tmp_path, spoil, told):
    spoil(copy)
    with pytest.raises(SettingError, match=told):
        write(copy, tmp_path / "t")
    assert not list((tmp_path / "t").iterdir())


def test_the_command(copy):
    done = CliRunner().invoke(cli.pi10, ["sizes", str(copy), "--by", "day", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {row["stratum"] for row in told["slopes"]} == {"2024-06-24"}
    assert told["classes_without_carbon"] == ["noncopepod"]
    assert {path.rpartition("/")[2] for path in told["written"]} == {
        "sizes.csv", "size_spectrum.csv", "size_slopes.csv",
    }  # fmt: skip
    done = CliRunner().invoke(cli.pi10, ["sizes", str(copy)])
    assert done.exit_code == 0 and "size_slopes.csv" in done.output
    (copy / "run.json").unlink()
    done = CliRunner().invoke(cli.pi10, ["sizes", str(copy)])
    assert isinstance(done.exception, SettingError) and "--resume" in str(done.exception)


def test_overwriting_a_run_removes_what_was_made_of_it(run, cruise, package, tmp_path):
    copy = shutil.copytree(run, tmp_path / "again")
    write_sizes(copy, CLASSES, lambda _: "all", SizeOptions())
    assert (copy / "sizes.csv").exists()
    classify([str(cruise / "loose")], copy, Settings(model=package, jobs=2), overwrite=True)
    assert not list(copy.glob("size*.csv"))
