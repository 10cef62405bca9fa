"""Biovolumes in exports: sums over single particles, as `pi10 sizes` has them, none twice."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import published_run
import pytest
import support
from published_run import usual, write_particles, write_run

pytest.importorskip("dwca")

from dwca_reading import read

from pi10_classifier.export.biovolumes import read_biovolumes
from pi10_classifier.export.darwin_core.archive import Archive, write_archive
from pi10_classifier.export.darwin_core.biocheck import check
from pi10_classifier.export.darwin_core.events import choose, events_of
from pi10_classifier.export.darwin_core.occurrences import Occurrence
from pi10_classifier.export.darwin_core.rows import biovolume_measurement
from pi10_classifier.export.darwin_core.terms import ABUNDANCE, BIOVOLUME
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.netcdf.trajectory import write_trajectory
from pi10_classifier.export.run_tables import read_tables
from pi10_classifier.export.taxa import read_taxa
from pi10_classifier.export.validated import Corrected
from pi10_classifier.sizes.tables import SizeOptions, write_sizes

ESD = {"copepod": (400.0, 600.0, None), "noncopepod": (1500.0,), "detritus": (250.0, 300.0)}
FIRST = "pia7.2024-06-24.1450"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two bins whose minutes have different factors, and one without a copepod."""
    counts = [{"copepod": 1 + n % 4, "detritus": 2, "noncopepod": n % 2} for n in range(10)]
    bins = [usual(counts=counts), usual(1, misses=0), usual(2, counts={"noncopepod": 3})]
    folder = write_run(tmp_path / "run", bins)
    write_particles(folder, ESD)
    return folder


def export(run: Path, out: Path, taxa: Path | None = None) -> Archive:
    return write_archive(run, out, read_facts(run / "dataset.toml"), read_taxa(taxa))


def by_hand(run: Path, name: str, label: str) -> float:
    """mm³ per m³: each particle's sphere times the factor of its minute, over the water."""
    total = litres = 0.0
    for row in support.csv_of(run / "counts.csv"):
        if row["bin"] == name and row["label"] == label and row["raised_count"]:
            litres += float(row["litres"])
            for number in range(int(row["count"])):
                size = ESD[label][number % len(ESD[label])] or 0.0
                factor = (int(row["hits"]) + int(row["misses"])) / int(row["images"])
                total += factor * math.pi / 6 * (size / 1000) ** 3
    return total / (litres / 1000)


def test_the_archive_has_them_as_the_sizes_table_has(run: Path, tmp_path: Path) -> None:
    done = export(run, tmp_path / "a.zip")
    assert check(tmp_path / "a.zip") == []
    assert (done.without_biovolume, done.notes) == (0, ())
    _, occurrences, measured = read(tmp_path / "a.zip")
    write_sizes(run, tuple(support.CLASSES), lambda name: name, SizeOptions())
    sizes = {
        (row["stratum"], row["label"]): row
        for row in support.csv_of(run / "sizes.csv")
        if row["size_class"] == "all"
    }
    compared = 0
    for (name, kind), row in measured.items():
        if kind != BIOVOLUME.type_id:
            continue
        label = occurrences[name]["verbatimIdentification"]
        bin_name = name.split(":")[1]
        value = float(row["measurementValue"])
        assert value == pytest.approx(by_hand(run, bin_name, label), rel=1e-4)
        theirs = sizes[bin_name, label]
        assert value == pytest.approx(float(theirs["biovolume_sphere_mm3_per_m3"]), rel=1e-4)
        limits = re.search(r"interval (\S+) to (\S+) cubic", row["measurementRemarks"])
        assert limits
        for place, end in enumerate(("low", "high"), 1):
            wanted = float(theirs[f"biovolume_sphere_{end}"])
            assert float(limits[place]) == pytest.approx(wanted, rel=1e-4)
        assert (row["measurementUnit"], row["measurementUnitID"]) == (
            "Cubic millimetres per cubic metre",
            "http://vocab.nerc.ac.uk/collection/P06/current/CMCM/",
        )
        compared += 1
    assert compared == 5
    # nothing was there, so there is no volume of it
    absent = f"C24:{usual(2).name}:1080:predicted"
    assert occurrences[absent]["occurrenceStatus"] == "absent"
    assert (absent, BIOVOLUME.type_id) not in measured
    copepods = measured[f"C24:{usual(1).name}:1080:predicted", BIOVOLUME.type_id]
    assert "10 of 30 images have no size" in copepods["measurementRemarks"]


def test_classes_of_one_taxon_are_added_once(tmp_path: Path) -> None:
    table = tmp_path / "taxa.csv"
    table.write_text(
        "label,scientificName,AphiaID,rank,kingdom,ecotaxa_id,publish\n"
        "copepod,Copepoda,1080,Class,Animalia,,yes\n"
        "noncopepod,Copepoda,1080,Class,Animalia,,yes\ndetritus,,,,,,no\n"
    )
    run = write_run(tmp_path / "run", [usual()])
    write_particles(run, ESD)
    export(run, tmp_path / "a.zip", table)
    _, _, measured = read(tmp_path / "a.zip")
    rows = [row for (_, kind), row in measured.items() if kind == BIOVOLUME.type_id]
    both = sum(by_hand(run, FIRST, label) for label in ("copepod", "noncopepod"))
    assert [float(row["measurementValue"]) for row in rows] == [pytest.approx(both, rel=1e-4)]
    written = write_trajectory(
        run, tmp_path / "a.nc", read_facts(run / "dataset.toml"), read_taxa(table)
    )
    assert written.taxa == ("Copepoda",)
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(tmp_path / "a.nc") as found:
        assert found["bin_biovolume"][0, 0] == pytest.approx(both, rel=1e-6)


def test_the_netcdf_has_those_of_the_bins(run: Path, tmp_path: Path) -> None:
    netcdf = pytest.importorskip("netCDF4")
    write_trajectory(run, tmp_path / "a.nc", read_facts(run / "dataset.toml"), read_taxa())
    with netcdf.Dataset(tmp_path / "a.nc") as found:
        assert found["bin_biovolume"].units == "mm3 m-3"
        for place, name in enumerate(found["bin"][:].tolist()):
            for row, label in enumerate(("copepod", "noncopepod")):
                value = found["bin_biovolume"][row, place]
                assert value == pytest.approx(by_hand(run, name, label), rel=1e-6)
                if value:
                    low = found["bin_biovolume_low"][row, place]
                    assert low < value < found["bin_biovolume_high"][row, place]
        assert found["bin_biovolume"][0, 29] == 0  # looked for and not found
        assert found["bin_biovolume_low"][0].mask.tolist() == [False] * 20 + [True] * 10


def test_without_particles_the_user_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual()])
    assert read_biovolumes(run).by_class == {}
    done = export(run, tmp_path / "a.zip")
    assert done.notes == (
        f"{run / 'predictions.parquet'} holds no particles, so there is no biovolume",
    )
    assert done.without_biovolume == 2
    write_particles(run, dict.fromkeys(support.CLASSES, (None,)))
    done = export(run, tmp_path / "b.zip")
    assert (done.notes, done.without_biovolume) == ((), 2)
    _, _, measured = read(tmp_path / "b.zip")
    kinds = {kind for _, kind in measured}
    assert BIOVOLUME.type_id not in kinds
    assert ABUNDANCE.type_id in kinds


def test_a_minute_without_a_density_adds_nothing(tmp_path: Path) -> None:
    bins = [usual(), usual(1, hits_misses=False)]
    run = write_run(tmp_path / "run", bins)
    write_particles(run, ESD)
    assert {name for name, _ in read_biovolumes(run).by_class} == {FIRST}
    rows = published_run.table_of(run, "counts.csv")
    assert any(key[0] == bins[1].name and int(row["count"]) for key, row in rows.items())


def test_there_is_none_beside_a_corrected_density(run: Path) -> None:
    tables = read_tables(run)
    bins, _ = choose(tables)
    event = events_of(bins, "C24")[1]
    taxon = read_taxa()["copepod"]
    amount = tables.bins[event.key].amounts["copepod"]
    volume = read_biovolumes(run).of(event.key, ["copepod"])
    plain = Occurrence(event, taxon, ("copepod",), amount)
    row = biovolume_measurement(plain, volume, tables)
    assert row
    assert float(row["measurementValue"]) > 0
    corrected = replace(plain, corrected=Corrected(0.2, 0.1, 0.3, 50))
    assert biovolume_measurement(corrected, volume, tables) is None
    verified = Occurrence(event, taxon, ("copepod",), verified=3)
    assert biovolume_measurement(verified, volume, tables) is None
