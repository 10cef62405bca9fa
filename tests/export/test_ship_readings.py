"""What the ship measured in exports: known quantities, those of dataset.toml, and all others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from published_run import START, usual, write_run

pytest.importorskip("dwca")
netCDF4 = pytest.importorskip("netCDF4")

from dwca_reading import read

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.export.darwin_core.archive import write_archive
from pi10_classifier.export.dataset_facts import ReadingFacts, read_facts
from pi10_classifier.export.identifiers import nerc
from pi10_classifier.export.ship_readings import readings_of
from pi10_classifier.export.taxa import read_taxa
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import Underway, join, read_underway

HEADER = "time,temperature,Salinity [PSU],fluorescence,Turbidité (NTU)"
TOLD = """
[underway.wind_speed]
column = "fluorescence"
standard_name = "wind_speed"
units = "m s-1"
P01 = "EWSBZZ01"
P06 = "UVAA"
"""


def ship(run: Path, header: str = HEADER, *, temperature: float = 15.0) -> Path:
    """A reading each minute, one degree warmer than the last; the salinity stops after ten."""
    lines = [header]
    for minute in range(20):
        when = START + timedelta(minutes=minute, seconds=30)
        salinity = "35.1" if minute < 10 else ""
        values = [f"{temperature + minute:g}", salinity, f"{0.5 + minute}", "-0.25"]
        lines.append(",".join([f"{when:%Y-%m-%dT%H:%M:%SZ}", *values[: header.count(",")]]))
    path = run / "tsg.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run", [usual(), usual(1)])
    join(folder, Readings((ship(folder),)), 20)
    return folder


def told(run: Path, text: str = TOLD) -> None:
    with (run / "dataset.toml").open("a", encoding="utf-8") as stream:
        stream.write(text)


def export(kind: str, run: Path, out: Path) -> str:
    done = CliRunner().invoke(pi10, ["export", kind, str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_netcdf_has_each_minute(run: Path, tmp_path: Path) -> None:
    told(run)
    output = export("netcdf", run, tmp_path / "a.nc")
    assert "note: 'temperature' is taken for temperature of the sea water, unit degree_C" in output
    assert "note: 'Turbidité (NTU)' is not a known quantity: it is written" in output
    assert "'fluorescence'" not in output  # dataset.toml says what it is
    with netCDF4.Dataset(tmp_path / "a.nc") as found:
        minutes = np.arange(20)
        temperature = found["temperature"]
        assert temperature[:].tolist() == (15.0 + minutes).tolist()
        assert (temperature.standard_name, temperature.units) == (
            "sea_water_temperature", "degree_C",
        )  # fmt: skip
        salinity = found["salinity"]
        assert (salinity.standard_name, salinity.units) == ("sea_water_practical_salinity", "1")
        assert salinity[:].mask.tolist() == [False] * 10 + [True] * 10
        wind = found["wind_speed"]
        assert (wind.long_name, wind.units) == ("wind speed", "m s-1")
        assert (wind.sdn_parameter_urn, wind.sdn_uom_urn) == ("SDN:P01::EWSBZZ01", "SDN:P06::UVAA")
        assert wind[:].tolist() == (0.5 + minutes).tolist()
        other = found["turbidite"]
        assert other.long_name == "Turbidité (NTU)"
        # no unit that CF takes
        assert other.comment.endswith("unit as it says: NTU")
        assert not {"standard_name", "units"} & set(other.ncattrs())
        assert other[:].tolist() == [-0.25] * 20
        for name in temperature.coordinates.split():
            assert name in found.variables


def test_the_archive_has_the_means_of_the_bins(run: Path, tmp_path: Path) -> None:
    told(run)
    export("dwca", run, tmp_path / "a.zip")  # which checks it by the rules
    _, _, measured = read(tmp_path / "a.zip")
    first, second = (f"C24:{usual(number).name}" for number in range(2))
    temperature = measured[second, nerc("P01", "TEMPPR01")]
    assert float(temperature["measurementValue"]) == 29.5
    assert temperature["measurementType"] == "Temperature of the water body"
    assert (temperature["measurementUnit"], temperature["measurementUnitID"]) == (
        "Degrees Celsius", nerc("P06", "UPAA"),
    )  # fmt: skip
    assert temperature["occurrenceID"] == ""
    assert "10 minutes have a reading" in temperature["measurementRemarks"]
    assert float(measured[first, nerc("P01", "PSLTZZ01")]["measurementValue"]) == 35.1
    assert (second, nerc("P01", "PSLTZZ01")) not in measured  # no reading, no row
    wind = measured[first, nerc("P01", "EWSBZZ01")]
    assert (wind["measurementType"], wind["measurementUnit"]) == ("wind speed", "m s-1")
    assert wind["measurementUnitID"] == nerc("P06", "UVAA")
    other = measured[first, ""]
    assert (other["measurementType"], other["measurementValue"]) == ("Turbidité (NTU)", "-0.25")
    assert (other["measurementUnit"], other["measurementUnitID"]) == ("NTU", "")
    assert ("C24", nerc("P01", "TEMPPR01")) not in measured


def test_an_unlikely_or_doubtful_column_keeps_its_own_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual(), usual(1)])
    join(run, Readings((ship(run, "time,temperature,sal", temperature=288.0),)))
    (kelvin, _), notes = readings_of(read_underway(run), ())
    assert (kelvin.standard_name, kelvin.units, kelvin.p01) == ("", "", "")
    assert "'temperature' has values that are no temperature of the sea water, unit" in notes[0]
    join(run, Readings((ship(run, "time,temperature (K),sst [°C],temperature"),)))
    (kelvin, sst, second), notes = readings_of(read_underway(run), ())
    assert (kelvin.standard_name, kelvin.units) == ("", "K")
    assert (sst.standard_name, sst.p01) == ("sea_water_temperature", "TEMPPR01")
    # one value of a quantity an event
    assert (second.standard_name, second.p01) == ("sea_water_temperature", "")
    assert "without P01, which another column has" in notes[2]
    assert (kelvin.name, second.name) == ("temperature", "underway_temperature")


@pytest.mark.parametrize(
    ("unit", "units"),
    [("umol/kg", "umol/kg"), ("mS cm-1", "mS cm-1"), ("m s^-1", "m s^-1"), ("%", "%"),
     ("degrees", "degrees"), ("NTU", ""), ("psu", ""), ("counts!", ""), ("mg/", "")],
)  # fmt: skip
def test_units_that_udunits_knows(unit: str, units: str) -> None:
    column = f"oxygen [{unit}]"
    (reading,), _ = readings_of(Underway((column,)), ())
    assert (reading.name, reading.units, reading.unit_label) == ("oxygen", units, unit)


def test_without_a_unit_a_fluorescence_is_no_chlorophyll(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual(), usual(1)])
    header = "time,fluorescence,fluorometer (µg/l)"
    join(run, Readings((ship(run, header, temperature=1.0),)))
    (volts, chlorophyll), notes = readings_of(read_underway(run), ())
    assert (volts.standard_name, volts.units) == ("", "")
    assert "'fluorescence' is not a known quantity and names no unit" in notes[0]
    assert (chlorophyll.p01, chlorophyll.p06, chlorophyll.units) == (
        "CPHLPR01", "UMMC", "mg m-3",
    )  # fmt: skip


def test_names_that_are_taken_and_columns_that_are_not_there(run: Path) -> None:
    underway = read_underway(run)
    (temperature, *_), _ = readings_of(underway, (), {"temperature"})
    assert temperature.name == "underway_temperature"
    facts = ReadingFacts("depth", "temperature", "", "", "", "", "")
    with pytest.raises(SettingError, match=r"\[underway\.depth\].* another variable of this name"):
        readings_of(underway, (facts,), {"depth"})
    gone = ReadingFacts("oxygen", "oxy", "", "", "", "", "")
    _, notes = readings_of(underway, (gone,))
    assert "of the column 'oxy', which underway.csv has not; it has temperature" in notes[0]


def test_the_archive_keeps_its_own_measurements(run: Path, tmp_path: Path) -> None:
    told(run, TOLD.replace("EWSBZZ01", "VOLWBSMP"))
    facts = read_facts(run / "dataset.toml")
    with pytest.raises(SettingError, match="'fluorescence' is called 'VOLWBSMP', which the arch"):
        write_archive(run, tmp_path / "a.zip", facts, read_taxa())
    assert not (tmp_path / "a.zip").exists()


WRONG = """
[underway.1st]
column = "a"
[underway.wind]
colum = "b"
standard_name = "Wind speed"
P01 = "http://vocab.nerc.ac.uk/collection/P01/current/EWSBZZ01/"
[underway.air]
column = "a"
P06 = "upaa"
"""


def test_what_is_wrong_with_the_tables_is_told_at_once(run: Path) -> None:
    told(run, WRONG)
    with pytest.raises(SettingError) as error:
        read_facts(run / "dataset.toml")
    for text in (
        "underway.1st", "is no name of a variable", "did you mean 'column'?",
        "underway.wind.column", "is missing", "which is no standard name of CF",
        "underway.wind.P01", "give the code alone, 8 capital letters and digits",
        "is of the column 'a', as underway.1st", "underway.air.P06",
    ):  # fmt: skip
        assert text in str(error.value)


def test_a_run_without_readings_is_as_before(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [usual()])
    assert readings_of(read_underway(run), read_facts(run / "dataset.toml").readings) == ((), ())
    assert "temperature" not in export("netcdf", run, tmp_path / "a.nc")
