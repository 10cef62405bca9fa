"""The trajectory read back: the numbers of the tables, and what CF and ACDD ask for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import published_run
import pytest
import support
from published_run import START, usual, write_run

netCDF4 = pytest.importorskip("netCDF4")

from pi10_classifier.abundance.position import POSITION_FLAGS
from pi10_classifier.abundance.quality import FLAGS
from pi10_classifier.errors import SettingError
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.netcdf.trajectory import Written, write_trajectory
from pi10_classifier.export.taxa import read_taxa


def export(run: Path, out: Path, **more: Any) -> Written:
    return write_trajectory(run, out, read_facts(run / "dataset.toml"), read_taxa(), **more)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    bins = [usual(), usual(1, misses=0), usual(3, counts={"detritus": 9}, misses=200)]
    run = write_run(tmp_path / "run", bins)
    export(run, tmp_path / "a.nc")
    return tmp_path


def test_each_minute_has_the_numbers_of_the_tables(made: Path) -> None:
    minutes = published_run.table_of(made / "run", "counts.csv")
    bins = published_run.table_of(made / "run", "bins.csv")
    of_minute = {
        "density": ("per_litre", 1000), "density_low": ("per_litre_low", 1000),
        "density_high": ("per_litre_high", 1000), "image_count": ("count", 1),
    }  # fmt: skip
    of_bin = {
        "bin_density": "per_litre", "bin_density_low": "per_litre_low",
        "bin_density_high": "per_litre_high", "bin_water_mass_low": "water_mass_low",
        "bin_water_mass_high": "water_mass_high",
    }  # fmt: skip
    of_all = {
        "hits": ("hits", 1), "misses": ("misses", 1), "images": ("images", 1),
        "sampled_volume": ("litres", 0.001), "raising_factor": ("raising_factor", 1),
        "share_of_hits": ("share_of_hits", 1), "latitude": ("latitude", 1),
        "longitude": ("longitude", 1), "sun_elevation": ("sun_elevation", 1),
        "quality_l20": ("quality_l20", 1), "quality_qartod": ("quality_qartod", 1),
        "position_l20": ("position_l20", 1), "position_qartod": ("position_qartod", 1),
    }  # fmt: skip
    with netCDF4.Dataset(made / "a.nc") as found:
        assert found["taxon_name"][:].tolist() == ["Copepoda", "Animalia"]
        assert len(found["time"]) == 30
        for place, seconds in enumerate(found["time"][:].tolist()):
            start = datetime.fromtimestamp(seconds, UTC) - timedelta(seconds=30)
            name, when = str(found["bin"][place]), f"{start:%Y-%m-%dT%H:%M:%SZ}"
            for row, label in enumerate(("copepod", "noncopepod")):
                cells, whole = minutes[name, when, label], bins[name, label]
                for variable, (column, factor) in of_minute.items():
                    value = found[variable][row, place]
                    assert value == pytest.approx(factor * float(cells[column]), rel=1e-9)
                for variable, column in of_bin.items():
                    value = found[variable][row, place]
                    assert value == pytest.approx(1000 * float(whole[column]), rel=1e-9)
            for variable, (column, factor) in of_all.items():
                value = found[variable][place]
                assert value == pytest.approx(factor * float(cells[column]), rel=1e-9), variable


def test_flags_are_those_of_the_tables(made: Path) -> None:
    minutes = published_run.table_of(made / "run", "counts.csv")
    seen = set()
    with netCDF4.Dataset(made / "a.nc") as found:
        for place, name in enumerate(found["bin"][:].tolist()):
            start = datetime.fromtimestamp(float(found["time"][place]) - 30, UTC)
            row = minutes[name, f"{start:%Y-%m-%dT%H:%M:%SZ}", "copepod"]
            names = set()
            for variable in ("sampling_flags", "position_flags"):
                masks = found[variable].flag_masks.tolist()
                meanings = found[variable].flag_meanings.split()
                value = int(found[variable][place])
                names |= {m for mask, m in zip(masks, meanings, strict=True) if value & mask}
            assert names == set(filter(None, row["flags"].split(";")))
            seen |= names
        assert {"factor_above_10", "gap_before"} <= seen
        for variable in ("quality_l20", "quality_qartod", "classification_l20"):
            attributes = found[variable]
            assert len(attributes.flag_values) == len(attributes.flag_meanings.split())
        assert set(found["classification_l20"][:].tolist()) == {0}
        assert "corrected_density" not in found.variables


def test_every_flag_has_a_bit(made: Path) -> None:
    with netCDF4.Dataset(made / "a.nc") as found:
        for variable, names in (("sampling_flags", FLAGS), ("position_flags", POSITION_FLAGS)):
            masks = found[variable].flag_masks
            assert len(set(masks.tolist())) == len(masks)
            assert (masks > 0).all()
            meanings = found[variable].flag_meanings.split()
            assert set(meanings) == set(names) - {"no_particle"}


def test_what_cf_and_acdd_ask_for(made: Path) -> None:
    with netCDF4.Dataset(made / "a.nc") as found:
        assert found.Conventions == "CF-1.12, ACDD-1.3"
        assert found.featureType == "trajectory"
        assert found["trajectory"].cf_role == "trajectory_id"
        assert str(found["trajectory"][:]) == "C24_pia7"
        assert found["taxon_lsid"][0] == "urn:lsid:marinespecies.org:taxname:1080"
        density = found["density"]
        assert density.standard_name == "number_concentration_of_biological_taxon_in_sea_water"
        assert density.units == "m-3"
        for name in (*density.coordinates.split(), *density.ancillary_variables.split(),
                     density.grid_mapping, found["time"].bounds):  # fmt: skip
            assert name in found.variables
        times = found["time"][:]
        assert (np.diff(times) > 0).all()
        assert (found["time_bounds"][:, 1] - found["time_bounds"][:, 0] == 60).all()
        assert found.time_coverage_start == "2024-06-24T14:50:00Z"
        assert found.time_coverage_end == "2024-06-24T15:30:00Z"
        assert found.geospatial_lat_min == found["latitude"][:].min()
        assert (found.title, found.creator_name) == (
            "Plankton of a cruise that never was", "Josiah Carberry",
        )  # fmt: skip
        assert found.license == "http://creativecommons.org/licenses/by/4.0/legalcode"
        assert float(found["depth"][:]) == 4.5
        assert found.naming_authority == "be.vliz"


def test_minutes_without_a_density_stay_and_others_are_listed(tmp_path: Path) -> None:
    bins = [
        usual(hits_misses=False),
        usual(1),
        usual(2, at=None),
        replace(usual(1), start=START + timedelta(minutes=15), minutes=1),  # within the second bin
    ]
    done = export(write_run(tmp_path / "run", bins), tmp_path / "a.nc")
    assert done.track.reasons == {
        "without a position": 10,
        "in an earlier bin too, which is kept": 1,
    }
    listed = support.csv_of(tmp_path / "a.nc.left_out.csv")
    assert [row["minute"] for row in listed if "earlier" in row["reason"]] == [
        "2024-06-24T15:05:00Z"
    ]
    with netCDF4.Dataset(tmp_path / "a.nc") as found:
        assert found["density"][0].mask.tolist() == [True] * 10 + [False] * 10
        assert found["hits"][:].mask.tolist() == [True] * 10 + [False] * 10
        assert found["quality_l20"][:].tolist()[:10] == [9] * 10
        assert found["images"][:].tolist() == [9] * 20


def test_a_file_is_of_one_instrument(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual(), usual(1, instrument="pia8")])
    with pytest.raises(SettingError, match="bins of pia7, pia8, and a trajectory is of one"):
        export(run, tmp_path / "a.nc")
    with pytest.raises(SettingError, match="'pia9'; the run has pia7, pia8"):
        export(run, tmp_path / "a.nc", instrument="pia9")
    done = export(run, tmp_path / "a.nc", instrument="pia8")
    assert {point.minute.bin for point in done.track.points} == {"pia8.2024-06-24.1500"}
    assert not done.track.left_out
    write_run(tmp_path / "run", [usual(at=None)])
    with pytest.raises(SettingError, match="no minute to publish: 10 without a position"):
        export(run, tmp_path / "b.nc")
    assert not (tmp_path / "b.nc").exists()


def test_same_run_same_bytes(made: Path) -> None:
    time.sleep(1.1)  # a file that held the time would differ
    export(made / "run", made / "b.nc")
    assert (made / "a.nc").read_bytes() == (made / "b.nc").read_bytes()


FULL = """
import resource, signal, sys
from pi10_classifier.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size here")
def test_a_full_disk_is_told(made: Path) -> None:
    words = ["export", "netcdf", str(made / "run"), "--out", str(made / "b.nc")]
    done = subprocess.run([sys.executable, "-c", FULL, *words], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 5
    assert f"cannot write {made / 'b.nc'}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(made.glob("*b.nc*"))


def test_a_flag_of_another_version_is_refused(made: Path) -> None:
    path = made / "run/counts.csv"
    path.write_text(path.read_text("utf-8").replace("gap_before", "gap_behind"), "utf-8")
    with pytest.raises(SettingError, match="the flag 'gap_behind', of another version"):
        export(made / "run", made / "b.nc")


def test_without_the_extra(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(SettingError, match=r'\[publish\]"'):
        export(made / "run", made / "b.nc")


DIES = """
import os, signal, sys
from pathlib import Path
from pi10_classifier.export.netcdf import trajectory
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.taxa import read_taxa
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
trajectory.write_csv = die
run, out = map(Path, sys.argv[1:])
trajectory.write_trajectory(run, out, read_facts(run / "dataset.toml"), read_taxa())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_in_the_middle_leaves_no_file(made: Path) -> None:
    words = [sys.executable, "-c", DIES, str(made / "run"), str(made / "b.nc")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not (made / "b.nc").exists()
    assert list(made.glob(".b.nc.*.tmp"))


def test_two_classes_of_one_taxon_are_one(tmp_path: Path) -> None:
    table = tmp_path / "taxa.csv"
    table.write_text(
        "label,scientificName,AphiaID,rank,kingdom,ecotaxa_id,publish\n"
        "large,Copepoda,1080,Class,Animalia,,yes\nsmall,Copepoda,1080,Class,Animalia,,yes\n"
    )
    bins = [usual(counts={"large": 3, "small": 2}), usual(1, counts={"small": 1}, at=(0.5, 179.99))]
    run = write_run(tmp_path / "run", bins, ["large", "small"])
    facts = read_facts(run / "dataset.toml")
    write_trajectory(run, tmp_path / "a.nc", facts, read_taxa(table))
    minutes = published_run.table_of(run, "counts.csv")
    with netCDF4.Dataset(tmp_path / "a.nc") as found:
        assert found["model_class"][:].tolist() == ["large small"]
        first = [float(minutes[bins[0].name, "2024-06-24T14:50:00Z", label]["per_litre"])
                 for label in ("large", "small")]  # fmt: skip
        assert found["density"][0, 0] == pytest.approx(1000 * sum(first), rel=1e-5)
        assert found["density_low"][0, 0] < found["density"][0, 0] < found["density_high"][0, 0]
        assert found["bin_water_mass_low"][0].mask.all()  # how their minutes go together is unknown
        # 8 degrees west and 179.99 east are nearer across the antimeridian
        assert found.geospatial_lon_min > found.geospatial_lon_max
        assert "geospatial_bounds" not in found.ncattrs()
