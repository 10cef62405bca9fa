"""A Darwin Core Archive as a reader of its own sees it, and what is left out of it."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import published_run
import pytest
import support
from published_run import usual, write_run

pytest.importorskip("dwca")

from dwca_reading import read

from pi10_classifier.errors import SettingError
from pi10_classifier.export.darwin_core.archive import Archive, write_archive
from pi10_classifier.export.darwin_core.biocheck import check
from pi10_classifier.export.darwin_core.terms import ABUNDANCE, COUNT, SUBSAMPLING, VOLUME
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.taxa import read_taxa


def export(run: Path, out: Path, taxa: Path | None = None) -> Archive:
    return write_archive(run, out, read_facts(run / "dataset.toml"), read_taxa(taxa))


def test_a_reader_finds_the_densities_of_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual(), usual(1, misses=0)])
    done = export(run, tmp_path / "a.zip")
    assert (done.bins, done.occurrences, done.absences) == (2, 4, 0)
    assert done.not_published == ("detritus",)
    assert check(tmp_path / "a.zip") == []
    events, occurrences, measured = read(tmp_path / "a.zip")
    assert {event: row["parentEventID"] for event, row in events.items()} == {
        "C24": "", "C24:pia7.2024-06-24.1450": "C24", "C24:pia7.2024-06-24.1500": "C24",
    }  # fmt: skip
    rows = published_run.table_of(run, "bins.csv")
    for label, aphia_id in (("copepod", 1080), ("noncopepod", 2)):
        row = rows["pia7.2024-06-24.1450", label]
        name = f"C24:pia7.2024-06-24.1450:{aphia_id}:predicted"
        value = float(measured[name, ABUNDANCE.type_id]["measurementValue"])
        assert value == pytest.approx(1000 * float(row["per_litre"]), rel=1e-5)
        assert value == float(occurrences[name]["organismQuantity"])
        low = f"{1000 * float(row['per_litre_low']):.6g}"
        remarks = measured[name, ABUNDANCE.type_id]["measurementRemarks"]
        assert low in remarks
        assert "for the water mass" in remarks
        assert measured[name, COUNT.type_id]["measurementValue"] == row["count"]
        assert occurrences[name]["identificationVerificationStatus"] == "PredictedByMachine"
        assert occurrences[name]["identifiedBy"] == "tiny 1.0"
    first = "C24:pia7.2024-06-24.1450"
    assert events[first]["eventDate"] == "2024-06-24T14:50:00Z/2024-06-24T15:00:00Z"
    assert events[first]["footprintWKT"].startswith("LINESTRING (-8.00000 49.00000, ")
    assert events["C24"]["sampleSizeValue"] == ""
    assert float(measured[first, VOLUME.type_id]["measurementValue"]) == pytest.approx(0.34)
    # 9 images and 4 misses a minute
    share = float(measured[first, SUBSAMPLING.type_id]["measurementValue"])
    assert share == pytest.approx(9 / 13, rel=1e-5)
    # with one factor in all minutes, count / share / volume is the density
    name = f"{first}:1080:predicted"
    count = float(measured[name, COUNT.type_id]["measurementValue"])
    density = float(measured[name, ABUNDANCE.type_id]["measurementValue"])
    assert count / share / 0.34 == pytest.approx(density, rel=1e-4)


def test_same_run_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual()])
    for name in ("a.zip", "b.zip"):
        export(run, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_absences_are_told_but_not_where_a_taxon_below_is_present(tmp_path: Path) -> None:
    bins = [
        usual(counts={"copepod": 3, "detritus": 5}),
        usual(1, counts={"detritus": 9, "noncopepod": 1}),
        usual(2, counts={"detritus": 9}),
    ]
    done = export(write_run(tmp_path / "run", bins), tmp_path / "a.zip")
    _, occurrences, measured = read(tmp_path / "a.zip")
    statuses = {tuple(name.split(":")[1:3]): row["occurrenceStatus"]
                for name, row in occurrences.items()}  # fmt: skip
    first, second, third = (f"pia7.2024-06-24.{time}" for time in (1450, 1500, 1510))
    assert statuses == {
        (first, "1080"): "present",  # and so "no animal" would be false
        (second, "1080"): "absent",
        (second, "2"): "present",
        (third, "1080"): "absent",
        (third, "2"): "absent",
    }
    assert done.contradicted == (f"Animalia in {first}",)
    assert done.absences == 3
    absent = f"C24:{second}:1080:predicted"
    assert occurrences[absent]["organismQuantity"] == "0"
    assert "looked for in 100 images" in occurrences[absent]["occurrenceRemarks"]
    assert measured[absent, COUNT.type_id]["measurementValue"] == "0"


def test_bins_that_cannot_be_published_are_listed(tmp_path: Path) -> None:
    bins = [
        usual(),
        usual(1, at=None),
        usual(2, hits_misses=False),
        usual(3, misses=200),
        usual(4, at=(47.0, 8.0)),  # the Alps, and a jump from one sea to the other
    ]
    done = export(write_run(tmp_path / "run", bins), tmp_path / "a.zip")
    listed = {row["bin"]: row for row in support.csv_of(tmp_path / "a.zip.left_out.csv")}
    assert {name: row["reason"] for name, row in listed.items()} == {
        bins[1].name: "without a position",
        bins[2].name: "without a density",
        bins[3].name: "with flags that mean bad quality",
        bins[4].name: "with a position on land or beyond the ship's reach",
    }
    assert "factor_above_10" in listed[bins[3].name]["flags"]
    assert Counter(listed[name]["reason"] for name in listed) == done.reasons
    events, _, _ = read(tmp_path / "a.zip")
    assert list(events) == ["C24", f"C24:{bins[0].name}"]
    (tmp_path / "a.zip").unlink()
    write_run(tmp_path / "run", bins[1:4])
    with pytest.raises(SettingError, match="no bin to publish: 1 with flags"):
        export(tmp_path / "run", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_two_classes_of_one_taxon_are_one_occurrence(tmp_path: Path) -> None:
    table = tmp_path / "taxa.csv"
    table.write_text(
        "label,scientificName,AphiaID,rank,kingdom,ecotaxa_id,publish,remarks\n"
        "calanoid,Copepoda,1080,Class,Animalia,,yes,large\n"
        "tiny,Copepoda,1080,Class,Animalia,,yes,\n"
        "chain,Chaetoceros,,Genus,,,no,\n"
    )
    counts = {"calanoid": 3, "tiny": 2, "chain": 4}
    run = write_run(tmp_path / "run", [usual(counts=counts)], list(counts))
    done = export(run, tmp_path / "a.zip", table)
    assert done.not_published == ("chain",)
    _, occurrences, measured = read(tmp_path / "a.zip")
    (name,) = occurrences
    rows = published_run.table_of(run, "bins.csv")
    both = sum(float(rows[usual().name, label]["per_litre"]) for label in ("calanoid", "tiny"))
    value = float(measured[name, ABUNDANCE.type_id]["measurementValue"])
    assert value == pytest.approx(1000 * both, rel=1e-4)
    assert occurrences[name]["verbatimIdentification"] == "calanoid | tiny"
    with pytest.raises(SettingError, match="'calanoid', 'tiny', 'chain' have no taxon"):
        export(run, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_a_cut_table_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual()])
    text = (run / "bins.csv").read_text("utf-8")
    (run / "bins.csv").write_text(text[:-30], "utf-8")
    with pytest.raises(SettingError, match=r"bins\.csv, line 4: has \d+ cells"):
        export(run, tmp_path / "a.zip")
    (run / "run.json").unlink()
    with pytest.raises(SettingError, match="no finished run"):
        export(run, tmp_path / "a.zip")


DIES = """
import os, signal, sys
from pathlib import Path
from pi10_classifier.export.darwin_core import archive
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.taxa import read_taxa
def die(path, *_):
    assert path.stat().st_size > 1000  # the tables are written
    os.kill(os.getpid(), signal.SIGKILL)
archive.check = die
run, out = map(Path, sys.argv[1:])
archive.write_archive(run, out, read_facts(run / "dataset.toml"), read_taxa())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_in_the_middle_leaves_no_archive(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual()])
    out = tmp_path / "a.zip"
    died = subprocess.run([sys.executable, "-c", DIES, str(run), str(out)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not out.exists()
    assert not (tmp_path / "a.zip.left_out.csv").exists()
    export(run, out)
    assert zipfile.ZipFile(out).testzip() is None


def test_a_flag_or_text_cannot_break_a_row(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual()])
    facts = (run / "dataset.toml").read_text("utf-8")
    changed = facts.replace('ship = "Endeavour"', 'ship = "Endeavour"\narea = "a\\tb\\nc"')
    (run / "dataset.toml").write_text(changed, "utf-8")
    export(run, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        lines = archive.read("event.txt").decode().splitlines()
    (_, *rows) = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    assert {row[15] for row in rows} == {"a b c"}
