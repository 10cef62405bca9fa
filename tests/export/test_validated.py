"""A run that people labelled: corrected densities, and what people verified, in both formats."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import labelled_run
import published_run
import pytest
import support

pytest.importorskip("dwca")
netCDF4 = pytest.importorskip("netCDF4")

from dwca_reading import read

from pi10_classifier.errors import SettingError
from pi10_classifier.export.darwin_core.archive import Archive, write_archive
from pi10_classifier.export.darwin_core.terms import ABUNDANCE, COUNT
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.netcdf.trajectory import write_trajectory
from pi10_classifier.export.taxa import read_taxa
from pi10_classifier.export.validated import read_validated
from pi10_classifier.labelling.estimation.estimate import estimate_run
from pi10_classifier.labelling.labels import LabelStore

BIN = "pia7.2024-06-24.1450"  # the other one has factors above 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> labelled_run.LabelledRun:
    made = labelled_run.build(tmp_path_factory.mktemp("validated"), size=110)
    (made.path / "dataset.toml").write_text(published_run.DATASET, "utf-8")
    estimate_run(made.path)
    return made


@pytest.fixture
def run(made: labelled_run.LabelledRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "survey"))


def export(run: Path) -> Archive:
    facts = read_facts(run / "dataset.toml")
    return write_archive(run, run.parent / "a.zip", facts, read_taxa())


def test_corrected_densities_are_those_of_the_estimate(run: Path, made) -> None:
    done = export(run)
    assert [entry.bin for entry in done.left_out] == ["pia7.2024-06-24.1500"]
    assert done.corrected == 2
    _, occurrences, measured = read(run.parent / "a.zip")
    table = {(row["bin"], row["label"]): row
             for row in support.csv_of(run / "validation/corrected_bins.csv")}  # fmt: skip
    people = Counter(made.truth[one.particle_id] for one in made.sample if one.bin == BIN)
    for label, aphia_id in (("copepod", 1080), ("noncopepod", 2)):
        row = table[BIN, label]
        machine, human = (f"C24:{BIN}:{aphia_id}:{end}" for end in ("predicted", "validated"))
        cells = measured[machine, ABUNDANCE.type_id]
        value = float(cells["measurementValue"])
        assert value == pytest.approx(1000 * float(row["per_litre"]), rel=1e-5)
        assert value != pytest.approx(1000 * float(row["plain_per_litre"]), rel=1e-3)
        low, high = (f"{1000 * float(row[f'per_litre_{end}']):.6g}" for end in ("low", "high"))
        assert f"95 % interval {low} to {high} per cubic metre" in cells["measurementRemarks"]
        assert "post-stratification" in cells["measurementMethod"]
        told = occurrences[machine]
        assert told["identificationVerificationStatus"] == "PredictedByMachine"
        assert "sample of 110 particles" in told["identificationRemarks"]
        assert (machine, COUNT.type_id) not in measured
        told = occurrences[human]
        assert told["identificationVerificationStatus"] == "ValidatedByHuman"
        assert told["identifiedBy"] == "Anna Bergström"
        assert measured[human, COUNT.type_id]["measurementValue"] == str(people[label])
        assert (human, ABUNDANCE.type_id) not in measured
    assert done.validated == 2
    with zipfile.ZipFile(run.parent / "a.zip") as archive:
        assert "People labelled 110 particles" in archive.read("eml.xml").decode()


def test_the_trajectory_has_them_too(run: Path) -> None:
    out = run.parent / "a.nc"
    write_trajectory(run, out, read_facts(run / "dataset.toml"), read_taxa())
    table = {(row["bin"], row["label"]): row
             for row in support.csv_of(run / "validation/corrected_bins.csv")}  # fmt: skip
    with netCDF4.Dataset(out) as found:
        bins = found["bin"][:].tolist()
        assert len(bins) == 20
        for place, name in enumerate(bins):
            row = table[name, "copepod"]
            for variable, column in (("corrected_density", "per_litre"),
                                     ("corrected_density_low", "per_litre_low"),
                                     ("corrected_density_high", "per_litre_high")):  # fmt: skip
                value = found[variable][0, place]
                assert value == pytest.approx(1000 * float(row[column]), rel=1e-6)
        assert set(found["classification_l20"][:].tolist()) == {1}


def test_labels_that_are_not_in_the_densities_are_told(run: Path) -> None:
    validation = run / "validation"
    (validation / "corrected.csv").unlink()
    done = export(run)
    assert not done.labels.estimated
    assert (done.corrected, done.validated) == (0, 2)
    _, occurrences, measured = read(run.parent / "a.zip")
    name = f"C24:{BIN}:1080:predicted"
    looked_at = sum(
        one["bin"] == BIN and one["predicted"] == "copepod"
        for one in support.csv_of(validation / "sample.csv")
    )
    plain = published_run.table_of(run, "bins.csv")[BIN, "copepod"]
    # an image is counted once: under what people said, or under what the model said
    counted = measured[name, COUNT.type_id]["measurementValue"]
    assert int(counted) == int(plain["count"]) - looked_at
    assert "no person has verified it" in occurrences[name]["identificationRemarks"]


def test_labels_after_the_estimate_and_strata_with_too_few(run: Path, made) -> None:
    lines = (run / "validation/labels.csv").read_text("utf-8").splitlines(keepends=True)
    (run / "validation/labels.csv").write_text("".join(lines[:9]), "utf-8")
    estimate_run(run)
    labels = read_validated(run)
    assert "have no label" in labels.refused["all"]
    assert not labels.by_bin
    pairs = [(one.particle_id, made.truth[one.particle_id]) for one in made.sample]
    LabelStore(run, support.CLASSES).add(pairs, "Anna")
    assert read_validated(run).newer == 110 - 8


def test_a_verifier_must_be_named(run: Path) -> None:
    text = (run / "dataset.toml").read_text("utf-8")
    (run / "dataset.toml").write_text(text.replace('"verifier"', '"creator"'), "utf-8")
    with pytest.raises(SettingError, match=r"nobody in .* has the role 'verifier'"):
        export(run)


def test_a_run_that_changed_since_its_sample_is_refused(run: Path) -> None:
    text = (run / "counts.csv").read_text("utf-8")
    header, first, *rest = text.splitlines(keepends=True)
    cells = first.split(",")
    cells[3] = str(int(cells[3]) + 40)
    (run / "counts.csv").write_text("".join((header, ",".join(cells), *rest)), "utf-8")
    with pytest.raises(SettingError, match="draw"):
        export(run)


def test_tables_that_are_not_whole_are_refused(run: Path) -> None:
    path = run / "validation/corrected_bins.csv"
    text = path.read_text("utf-8")
    path.write_text(text[:-25], "utf-8")
    with pytest.raises(SettingError, match="not as it was at the estimate"):
        export(run)
    path.unlink()
    with pytest.raises(SettingError, match="corrected_bins"):
        export(run)
