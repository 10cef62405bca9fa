"""The ship's readings joined to minutes and bins: nearest within a limit, and plain refusals."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from pi10_classifier import cli
from pi10_classifier.classify import classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.underway import readings as module
from pi10_classifier.underway.readings import Readings
from pi10_classifier.underway.table import BINS, MINUTES, BinMean, join, read_underway

START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)


@pytest.fixture(scope="module")
def run(cruise, package, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    return out


def at(seconds):
    return f"{START + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def file(tmp_path, lines, name="tsg.csv"):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_each_minute_takes_the_nearest_reading_of_each_variable(run, tmp_path, monkeypatch):
    """Against a search through all readings, with chunks so small that minutes straddle them."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    rng = np.random.default_rng(0)
    seconds = np.cumsum(rng.integers(1, 90, 60))
    salinity = [f"{35 + i / 100:.2f}" if i % 3 else "" for i in range(60)]
    lines = ["Time, salinity,wind speed"]
    lines += [f"{at(int(s))},{salinity[i]},{i}" for i, s in enumerate(seconds)]
    done = join(run, Readings([file(tmp_path, lines)]), 45.0)
    rows = table(run / MINUTES)
    assert done.minutes == len(rows) and done.readings == 60
    for row in rows:
        middle = (datetime.fromisoformat(row["minute"]) - START).total_seconds() + 30
        aways = []
        for name, values in (("salinity", salinity), ("wind speed", [str(i) for i in range(60)])):
            near = [(abs(s - middle), s, v) for s, v in zip(seconds, values, strict=True) if v]
            away, _, value = min(near)
            assert row[name] == (f"{float(value):.9g}" if away <= 45 else "")
            aways += [float(away)] if away <= 45 else []
        assert row["seconds_away"] == (f"{max(aways):.9g}" if aways else "")
    assert done.missed == sum(not row["seconds_away"] for row in rows)
    means = {row["bin"]: row for row in table(run / BINS)}
    read = read_underway(run)
    assert read.variables == ("salinity", "wind speed") and set(read.by_bin) == set(means)
    for name, row in means.items():
        values = [float(r["salinity"]) for r in rows if r["bin"] == name and r["salinity"]]
        assert int(row["salinity_n"]) == len(values)
        if values:
            assert float(row["salinity_mean"]) == pytest.approx(np.mean(values))
            assert read.by_bin[name]["salinity"] == BinMean(
                pytest.approx(np.mean(values)), len(values)
            )
    first = rows[0]
    known = {name: float(first[name]) for name in read.variables if first[name]}
    assert read.by_minute[first["bin"], datetime.fromisoformat(first["minute"])] == known


def test_of_two_as_near_the_earlier_is_taken_and_equal_times_are_told(run, tmp_path):
    lines = ["time;t", f"{at(20)};1", f"{at(40)};2", f"{at(40)};3"]
    done = join(run, Readings([file(tmp_path, lines)]))
    assert done.repeated == 1
    minutes = {row["minute"]: row["t"] for row in table(run / MINUTES)}
    assert minutes[at(0)] == "1" and minutes[at(60)] == "2"


def test_zones_are_heeded_and_files_may_follow_each_other(run, tmp_path):
    early = file(tmp_path, ["time\tt", "2024-06-24T16:50:30+02:00\t5"], "a.tsv")
    late = file(tmp_path, ["\ufefftime,t", f"{at(90).removesuffix('Z')},6"], "b.csv")
    join(run, Readings([early, late], utc=True))
    minutes = {row["minute"]: row["t"] for row in table(run / MINUTES)}
    assert (minutes[at(0)], minutes[at(60)]) == ("5", "6")


@pytest.mark.parametrize(
    ("lines", "options", "told"),
    [
        ([""], {}, "no header"),
        (["when,t", f"{at(0)},1"], {}, "no column named time among when, t; name it with --time"),
        (["time,timestamp,t", f"{at(0)},1,2"], {}, "several columns of times"),
        (["time,t,t", f"{at(0)},1,2"], {}, "column 't' twice"),
        (["time,bin", f"{at(0)},1"], {}, "the name 'bin' is taken"),
        (["time,t", f"{at(0)},1"], {"variables": ("s",)}, "no column 's'; it has time, t"),
        (["time,t", f"{at(0)},1"], {"time": "T"}, "no column 'T'"),
        (["time,t", "2024-06-24 14:50:00,1"], {}, "line 2: .* tells no zone; if it is UTC"),
        (["time,t", "24/06/2024 14:50,1"], {}, "line 2: the time is '24/06/2024 14:50'"),
        (["time,t", f"{at(9)},1", f"{at(0)},1"], {}, "line 3: .* is before the reading above it"),
        (["time,t", f"{at(0)},warm"], {}, "line 2: t is 'warm', which is no number"),
        (["time,t", f"{at(0)},inf"], {}, "line 2: t is 'inf'"),
        (["time,t", f"{at(0)},1,2"], {}, "line 2 has 3 cells where the header has 2"),
        (["time,t", "2020-01-01T00:00:00Z,1"], {}, "no minute of .* has a reading within 60 s"),
        (["time,t"], {}, "no minute of .* the readings from \\? to \\?"),
    ],
)
def test_what_cannot_be_joined_is_refused(run, tmp_path, lines, options, told):
    (run / MINUTES).unlink(missing_ok=True)
    with pytest.raises(SettingError, match=told):
        join(run, Readings([file(tmp_path, lines)], **options))
    assert not (run / MINUTES).exists()
    assert not read_underway(run)


def test_overlapping_files_and_other_variables_are_refused(run, tmp_path):
    one = file(tmp_path, ["time,t", f"{at(0)},1", f"{at(60)},1"], "one.csv")
    two = file(tmp_path, ["time,t", f"{at(60)},1"], "two.csv")
    with pytest.raises(SettingError, match="not after the last reading of"):
        join(run, Readings([one, two]))
    three = file(tmp_path, ["time,s", f"{at(90)},1"], "three.csv")
    with pytest.raises(SettingError, match="--variable"):
        Readings([one, three])
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(SettingError, match="give seconds above 0"):
            join(run, Readings([one]), limit)
    (tmp_path / "bytes.csv").write_bytes(b"time,t\n\xff\xfe,1\n")
    with pytest.raises(SettingError, match="UTF-8"):
        join(run, Readings([tmp_path / "bytes.csv"]))


def test_a_joined_table_that_is_cut_is_refused(run, tmp_path):
    join(run, Readings([file(tmp_path, ["time,t", f"{at(30)},1"])]))
    text = (run / MINUTES).read_text()
    (run / MINUTES).write_text(text[: len(text) // 2].rsplit(",", 1)[0] + "\n")
    with pytest.raises(SettingError, match=r"make it again: pi10 underway"):
        read_underway(run)


def test_the_command(run, tmp_path):
    path = file(tmp_path, ["time,t,note", f"{at(30)},1,fog"])
    done = CliRunner().invoke(cli.pi10, ["underway", str(run), str(path), "--variable", "t"])
    assert done.exit_code == 0, done.output
    assert "t: 3 of 31" in done.stdout and "28 minutes have no reading within 60 s" in done.stderr
    arguments = ["underway", str(run), str(path), "--variable", "t", "--json"]
    done = CliRunner().invoke(cli.pi10, arguments)
    assert json.loads(done.stdout)["with_value"] == {"t": 3}
