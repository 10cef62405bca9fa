"""The track as GeoJSON and GeoParquet, read back by the formats' own rules."""

from __future__ import annotations

import csv
import json
import struct
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pi10_classifier import cli
from pi10_classifier.classify import classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import join
from pi10_classifier.underway.track import write_track


@pytest.fixture(scope="module")
def run(cruise, package, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    readings = out.parent / "tsg.csv"
    readings.write_text("time,flags,salinity\n2024-06-24T14:50:30Z,1,35.5\n")
    join(out, Readings([readings]), 20.0)
    return out


@pytest.fixture(scope="module")
def minutes(run):
    """(bin, minute) -> the cells of its classes."""
    found = {}
    with (run / "counts.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault((row["bin"], row["minute"]), {})[row["label"]] = row
    return {key: its for key, its in found.items() if its["copepod"]["latitude"]}


def test_geojson(run, minutes, tmp_path):
    done = write_track(run, tmp_path / "track.geojson")
    track = json.loads((tmp_path / "track.geojson").read_text())
    assert track["type"] == "FeatureCollection" and "crs" not in track
    assert len(track["features"]) == len(minutes) == done.points > 0
    for feature in track["features"]:
        cells = feature["properties"]
        its = minutes[cells["bin"], cells["time"] or ""]
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Point"
        east, north = feature["geometry"]["coordinates"]
        assert (east, north) == (
            float(its["copepod"]["longitude"]), float(its["copepod"]["latitude"]),
        )  # fmt: skip
        for label in ("copepod", "detritus", "noncopepod"):
            told = its[label]["per_litre"]
            assert cells[f"per_litre_{label}"] == (float(told) if told else None)
        assert cells["flags"] == its["copepod"]["flags"]
        first = cells["time"] == "2024-06-24T14:50:00Z"
        assert (cells["salinity"], cells["underway_flags"]) == ((35.5, 1) if first else (None,) * 2)


def test_geoparquet_follows_version_1_1(run, minutes, tmp_path):
    write_track(run, tmp_path / "track.parquet")
    table = pq.read_table(tmp_path / "track.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["primary_column"] == "geometry"
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB" and column["geometry_types"] == ["Point"]
    assert "crs" not in column  # then OGC:CRS84 holds
    points = []
    for row in table.to_pylist():
        order, kind, east, north = struct.unpack("<BIdd", row["geometry"])
        assert (order, kind) == (1, 1)
        when = row["time"].astimezone(UTC)
        its = minutes[row["bin"], f"{when:%Y-%m-%dT%H:%M:%SZ}"]["copepod"]
        assert (east, north) == (float(its["longitude"]), float(its["latitude"]))
        assert row["images"] == int(its["images"])
        points.append((east, north))
    east, north = zip(*points, strict=True)
    assert column["bbox"] == [min(east), min(north), max(east), max(north)]
    assert table["time"][0].as_py().replace(tzinfo=UTC) >= datetime(2024, 6, 24, tzinfo=UTC)


def test_without_positions_there_is_no_file(package, cruise, tmp_path):
    out = tmp_path / "out"
    classify([str(cruise / "loose")], out, Settings(model=package, jobs=1))
    with (out / "counts.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    with (out / "counts.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, lines[0])
        writer.writeheader()
        writer.writerows({**row, "latitude": "", "longitude": ""} for row in lines)
    for name in ("t.geojson", "t.parquet"):
        with pytest.raises(SettingError, match="has a position, so there is no track"):
            write_track(out, tmp_path / name)
    with pytest.raises(SettingError, match=r"end the name in \.geojson"):
        write_track(out, tmp_path / "t.kml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_the_command(run, minutes, tmp_path):
    out = tmp_path / "track.geojson"
    command = ["export", "track", str(run), "--out", str(out)]
    done = CliRunner().invoke(cli.pi10, [*command, "--json"])
    assert json.loads(done.stdout)["points"] == len(minutes)
    done = CliRunner().invoke(cli.pi10, command)
    assert isinstance(done.exception, SettingError) and "--overwrite" in str(done.exception)
    done = CliRunner().invoke(cli.pi10, [*command, "--overwrite"])
    assert done.exit_code == 0 and f"{len(minutes):,} minutes" in done.output
