"""EcoTaxa bundles: densities as in bins.csv, pixels as in the archives, and nothing lost unsaid."""

from __future__ import annotations

import csv
import io
import json
import secrets
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import labelled_run
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import support
from click.testing import CliRunner, Result
from ecotaxa_import import densities, read_bundles
from s3_server import Server
from s3_units import put

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.export.dataset_facts import DatasetFacts, read_facts
from pi10_classifier.export.ecotaxa.bundles import MOST_TABLES, Bundles
from pi10_classifier.export.ecotaxa.draw import choose
from pi10_classifier.export.ecotaxa.export import Exported, write_bundles
from pi10_classifier.export.ecotaxa.objects import Layout
from pi10_classifier.export.taxa import read_taxa
from pi10_classifier.imaging.decode import decode
from pi10_classifier.inference.settings import Settings
from pi10_classifier.labelling.crops import read_crops
from pi10_classifier.labelling.labelled import read_labelled
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.simulate import encode_tiff
from pi10_classifier.sources.archives import members
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import join, read_underway

FACTS = """
title = "A cruise"
abstract = "Plankton."
licence = "CC0-1.0"
[institution]
name = "Institute"
code = "INST"
[cruise]
id = "CEND0824"
ship = "RV Cefas Endeavour"
intake_depth_m = 4
[[people]]
given = "Anna"
family = "Berg"
email = "anna@example.org"
roles = ["creator", "contact", "verifier"]
"""
Survey = labelled_run.LabelledRun
Write = Callable[..., Exported]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Two bins of which minutes were raised differently; half of the particles are labelled."""
    built = labelled_run.build(tmp_path_factory.mktemp("survey"))
    (built.path / "dataset.toml").write_text(FACTS, "utf-8")
    return built


@pytest.fixture
def run(survey: Survey, tmp_path: Path) -> Path:
    """A copy, whose images lie where they were."""
    return Path(shutil.copytree(survey.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def facts(survey: Survey) -> DatasetFacts:
    return read_facts(survey.path / "dataset.toml")


@pytest.fixture
def write(tmp_path: Path, facts: DatasetFacts) -> Write:
    def written(run: Path, name: str = "b.zip", **options: Any) -> Exported:
        return write_bundles(run, tmp_path / name, facts, read_taxa(), threads=2, **options)

    return written


@pytest.fixture
def classified(package: Path, tmp_path: Path) -> Callable[[Path], Path]:
    def done(source: Path) -> Path:
        classify([str(source)], tmp_path / "fresh", Settings(model=package, jobs=2))
        return tmp_path / "fresh"

    return done


def export(run: Path, out: Path, *words: object) -> Result:
    return CliRunner().invoke(pi10, ["export", "ecotaxa", str(run), "--out", str(out),
                                     *map(str, words)])  # fmt: skip


def per_m3(run: Path) -> dict[tuple[str, str], float]:
    """(bin, label) -> 1000 x per_litre of bins.csv."""
    return {
        (row["bin"], row["label"]): 1000 * float(row["per_litre"])
        for row in support.csv_of(run / "bins.csv")
        if row["per_litre"]
    }


def assert_same(found: dict[tuple[str, str], float], run: Path) -> None:
    wanted = per_m3(run)
    assert any(wanted.values())
    for key, value in wanted.items():
        assert found.get(key, 0.0) == pytest.approx(value, rel=1e-5), key


def listed(done: Exported) -> list[dict[str, str]]:
    return support.csv_of(done.list_path)


def pixels_of(tar: Path) -> dict[str, np.ndarray]:
    """Stem of the member -> pixels."""
    with tar.open("rb") as stream:
        return {
            member.name.split("\\")[-1][:-4]: decode(member.data).rgb
            for member in members(stream, tar.stat().st_size)
            if "+N" in member.name and member.data
        }


def change_part(run: Path, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """Change cells of the first part by column."""
    path = min((run / "predictions.parquet").glob("*.parquet"))
    table = pq.read_table(path)
    cells = table.to_pydict()
    change(cells)
    pq.write_table(pa.Table.from_pydict(cells, schema=table.schema), path)


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


def test_pictures_are_the_pixels_of_the_archives(survey: Survey, write: Write) -> None:
    (path,) = write(survey.path).paths
    seen = 0
    for tar in (survey.path.parent / "cruise").glob("*.tar"):
        with zipfile.ZipFile(path) as bundle:
            for stem, rgb in pixels_of(tar).items():
                png = bundle.read(f"images/{stem.split('+')[0]}/{stem}.png")
                assert np.array_equal(decode(png).rgb, rgb)
                seen += 1
    assert seen == len(survey.truth)


def test_labels_of_people_are_validated_with_their_person(run: Path, write: Write) -> None:
    store = LabelStore(run, support.CLASSES)
    known = {label.particle_id: label for label in store.read()}
    odd, several = sorted(known)[:2]
    other = next(name for name in support.CLASSES if name != known[odd].label)
    store.add([(odd, other)], "Ben")
    store.add([(several, "several")], "Anna")
    done = write(run)
    rows = {row["object_id"]: row for row in read_bundles(done.paths)}
    assert (done.validated, done.contradicting) == (len(known) - 1, 1)
    names = {"copepod": "Copepoda", "noncopepod": "Animalia", "detritus": "detritus"}
    for name, row in rows.items():
        if name in known and name != odd:
            assert row["object_annotation_status"] == "validated"
            assert row["object_annotation_person_name"] == "Anna"
            label = "several" if name == several else known[name].label
            wanted = {**names, "several": "multiple<other"}.get(label, label)
            assert row["object_annotation_category"] == wanted
            assert len(row["object_annotation_date"]) == 8
        else:
            assert row["object_annotation_status"] == "predicted"
            assert row["object_annotation_category"] == names[row["object_predicted"]]
            assert row["object_annotation_person_name"] == ""
    copepods = [row for row in rows.values() if row["object_annotation_category"] == "Copepoda"]
    assert {row["object_annotation_category_id"] for row in copepods} == {"25828"}
    assert {"Animalia", "artefact", "multiple<other"} <= set(done.by_name)


def test_the_email_is_that_of_the_person_in_the_dataset(run: Path, write: Write) -> None:
    name = "pia7.2024-06-24.1450+N00000000"
    store = LabelStore(run, support.CLASSES)
    label = {line.particle_id: line.label for line in store.read()}.get(name, "copepod")
    store.add([(name, label)], "anna berg")
    rows = {row["object_id"]: row for row in read_bundles(write(run).paths)}
    assert rows[name]["object_annotation_person_email"] == "anna@example.org"


def test_round_trip_keeps_every_id(run: Path, survey: Survey, tmp_path: Path) -> None:
    assert export(run, tmp_path / "b.zip").exit_code == 0
    sample = {drawn.particle_id for drawn in survey.sample}
    rows = [row for row in read_bundles([tmp_path / "b.zip"]) if row["object_id"] in sample]
    above = {"Copepoda": "living>Metazoa>Crustacea>Copepoda", "detritus": "not-living>detritus",
             "Animalia": "Biota>Animalia", "artefact": "not-living>artefact"}  # fmt: skip
    # as EcoTaxa writes its exports: one line of names, the hierarchy, without types
    names = ("object_id", "object_annotation_status", "object_annotation_category",
             "object_annotation_hierarchy", "object_annotation_person_name")  # fmt: skip
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    table.writerow(names)
    for row in rows:
        category = row["object_annotation_category"]
        table.writerow((row["object_id"], "validated", category, above[category], "Ben"))
    with zipfile.ZipFile(tmp_path / "back.zip", "w") as back:
        back.writestr("ecotaxa_export_1.tsv", text.getvalue().encode("utf-8-sig"))
    words = ["validate", "import", str(run), str(tmp_path / "back.zip"), "--json"]
    answer = CliRunner().invoke(pi10, words)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["taken"], told["unknown_ids"], told["unknown_labels"]) == (len(sample), [], {})
    labels = LabelStore(run, support.CLASSES).read()
    back_labels = {line.particle_id: line.label for line in labels if line.labeller == "Ben"}
    assert back_labels == {name: survey.truth[name] for name in sample}


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


def test_archives_that_moved(survey: Survey, write: Write, tmp_path: Path) -> None:
    cruise = survey.path.parent / "cruise"
    moved = Path(shutil.copytree(cruise, tmp_path / "elsewhere"))
    run = Path(shutil.copytree(survey.path, tmp_path / "run"))
    hidden = cruise.rename(cruise.with_name("hidden"))
    try:
        with pytest.raises(SettingError, match=r"no picture .* --moved FROM=TO"):
            write(run)
        assert [path.name for path in tmp_path.glob("b*")] == []
        rows = read_bundles(write(run, moved={str(cruise): str(moved)}).paths)
        assert_same(densities(rows, "object_predicted"), run)
        # one of two: its bin is no sample, and the other one is as it was
        (moved / "1450.tar").unlink()
        done = write(run, name="one.zip", moved={str(cruise): str(moved)})
    finally:
        hidden.rename(cruise)
    rows = read_bundles(done.paths)
    assert {row["sample_id"] for row in rows} == {"pia7.2024-06-24.1500"}
    assert (done.gone_bins, done.left_out) == (1, {"gone": 120})
    gone = listed(done)
    assert len(gone) == 120 and {line["outcome"] for line in gone} == {"gone"}
    found = densities(rows, "object_predicted")
    for key, value in per_m3(run).items():
        assert found.get(key, 0.0) == pytest.approx(value if "1500" in key[0] else 0.0, rel=1e-5)


def test_images_that_changed_are_left_out_and_listed(
    survey: Survey, write: Write, tmp_path: Path
) -> None:
    cruise = survey.path.parent / "cruise"
    moved = Path(shutil.copytree(cruise, tmp_path / "elsewhere"))
    files = support.tar_of(moved / "1450.tar")
    names = [name for name in files if "+N" in name]
    files[names[0]] = support.particle(1)
    files[names[1]] = b"II*\0"
    del files[names[2]]
    # as wide and as high, but of another silhouette
    areas = {row["member"]: row["area_um2"] for row in survey.rows}
    other = next(name for name in names if areas[name] > 1.5 * areas[names[3]])
    files[names[3]] = files[other]
    support.write_tar(moved / "1450.tar", files)
    done = write(survey.path, moved={str(cruise): str(moved)})
    rows = read_bundles(done.paths)
    assert done.left_out == {"changed": 2, "unreadable": 1, "gone": 1}
    assert [line["outcome"] for line in listed(done)].count("changed") == 2
    assert {line["member"] for line in listed(done)} == set(names[:4])
    assert len(rows) == len(survey.truth) - 4
    # the minute's other objects stand for those that are left out
    total = densities(rows, "acq_instrument")["pia7.2024-06-24.1450", "Plankton Imager"]
    wanted = sum(value for key, value in per_m3(survey.path).items() if "1450" in key[0])
    assert total == pytest.approx(wanted, rel=1e-5)


def test_an_id_that_repeats_comes_once(
    tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    files = support.bin_members(30)
    for folder in ("a", "b"):
        support.write_tar(tmp_path / f"twice/{folder}/1450.tar", files)
    run = classified(tmp_path / "twice")
    done = write(run)
    rows = read_bundles(done.paths)
    assert (len(rows), done.left_out) == (30, {"repeated": 30})
    assert_same(densities(rows, "object_predicted"), run)
    drawn = read_bundles(write(run, name="few.zip", per_minute=2).paths)
    assert set(Counter(row["acq_id"] for row in drawn).values()) == {2}


def test_the_last_copy_in_an_archive_counts(
    tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    """As in the run: of an archive that was appended to, though both copies can be read."""
    import tarfile

    files = support.bin_members(12)
    path = support.write_tar(tmp_path / "in/1450.tar", files)
    name = support.name_of(3)
    last = support.particle(77, support.START + timedelta(seconds=150), side=60)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(last)
        tar.addfile(info, io.BytesIO(last))
    (bundle,) = write(classified(tmp_path / "in")).paths
    read_bundles([bundle])
    with zipfile.ZipFile(bundle) as archive:
        png = archive.read("images/pia7.2024-06-24.1450/pia7.2024-06-24.1450+N00000003.png")
    assert np.array_equal(decode(png).rgb, decode(last).rgb)


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


def test_damaged_members_and_loose_images(
    cruise: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    run = classified(cruise)
    done = write(run)
    rows = read_bundles(done.paths)
    assert len(rows) == len(support.rows_of(run))
    assert not done.left_out
    assert_same(densities(rows, "object_predicted"), run)


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


def test_labels_of_particles_outside_the_sample_come_back_too(
    package: Path, tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    """Of a run of which no sample was drawn; a later draw and the estimate leave them alone."""
    support.write_tar(tmp_path / "in/1450.tar", support.bin_members(40))
    support.write_folder(tmp_path / "in/loose", {"a  b é.tif": support.particle(5)})
    run = classified(tmp_path / "in")
    change_part(run, lambda cells: cells["particle_id"].__setitem__(0, "y" * 300))
    rows = read_bundles(write(run).paths)
    lines = ["object_id\tobject_annotation_status\tobject_annotation_category"]
    lines += [f"{row['object_id']}\tvalidated\tCopepoda" for row in rows[::2]]
    lines += [f"{row['object_id']}\tpredicted\tCopepoda" for row in rows[1::2]]
    (tmp_path / "back.tsv").write_bytes("\n".join(lines).encode("utf-8-sig"))
    words = ["validate", "import", str(run), str(tmp_path / "back.tsv"), "--json"]
    for taken in (21, 0):  # the second time all are known
        answer = CliRunner().invoke(pi10, words)
        assert answer.exit_code == 0, answer.output
        told = json.loads(answer.stdout)
        assert (told["taken"], told["unknown_ids"]) == (taken, [])
    ids = {row["particle_id"] for row in support.rows_of(run)}
    labelled = read_labelled(run)
    assert len(labelled.particles) == 21 and not labelled.lost
    assert {place.particle_id for place, _ in labelled.particles} <= ids
    assert {label for _, label in labelled.particles} == {"copepod"}
    assert all(crop.rgb is not None for crop in read_crops(run, [p for p, _ in labelled.particles]))
    assert write(run, name="again.zip").validated == 21
    CliRunner().invoke(pi10, ["validate", "suggest", str(run), "--n", "5"], catch_exceptions=False)
    assert not read_labelled(run).lost


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


def test_another_pixel_size_gives_the_same_pixels_and_other_lengths(
    package: Path, tmp_path: Path, write: Write
) -> None:
    path = support.write_tar(tmp_path / "in/1450.tar", support.bin_members(12))
    rows = {}
    for um in (10.0, 7.0):
        run = tmp_path / f"run{um:g}"
        classify([str(path)], run, Settings(model=package, jobs=2, um_per_px=um))
        path.touch()  # so that images are compared with what the run saw
        rows[um] = read_bundles(write(run, name=f"{um:g}.zip").paths)
    both = zip(rows[10.0], rows[7.0], strict=True)
    pairs = [pair for pair in both if all(row["object_area"] for row in pair)]
    assert len(pairs) > 3
    for usual, other in pairs:
        assert float(other["object_area"]) == pytest.approx(float(usual["object_area"]), rel=1e-6)
        assert (usual["acq_pixel_size"], other["acq_pixel_size"]) == ("0.010", "0.007")
        volumes = []
        for row in (usual, other):  # EcoTaxa's individual_volume, mm3
            radius = (float(row["object_area"]) / np.pi) ** 0.5 * float(row["acq_pixel_size"])
            volumes.append(4 / 3 * np.pi * radius**3)
            assert 2000 * radius == pytest.approx(float(row["object_esd_um"]), rel=1e-5)
        assert volumes[1] / volumes[0] == pytest.approx(0.343, rel=1e-5)


def test_images_in_a_bucket(
    s3: Server, package: Path, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    bucket = f"ecotaxa-{secrets.token_hex(4)}"
    s3.client.make_bucket(bucket)
    tar = support.write_tar(tmp_path / "in/1450.tar", support.bin_members(12))
    put(s3, bucket, "packed/1450.tar", tar.read_bytes())
    later = support.START + timedelta(minutes=10)
    for name, data in support.bin_members(3, later, 1).items():
        put(s3, bucket, f"loose/{name.rpartition(chr(92))[2]}", data)
    run = tmp_path / "run"
    inputs = [f"s3://{bucket}/packed/", f"s3://{bucket}/loose/"]
    classify(inputs, run, Settings(model=package, jobs=2))
    done = write(run)
    rows = read_bundles(done.paths)
    assert (len(rows), done.left_out) == (15, {})
    assert_same(densities(rows, "object_predicted"), run)
