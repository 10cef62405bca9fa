"""Drift from the pixels to the tables, the minute's line and the warnings."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import support
from click.testing import CliRunner
from watching import Clock

from pi10_classifier.api.predictions.writers import table_as_csv
from pi10_classifier.classify import RunResult, classify
from pi10_classifier.cli import pi10
from pi10_classifier.drift.quantities import CAMERA_COLUMNS, MIX, QUANTITIES
from pi10_classifier.drift.reference import read_reference
from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.decode import decode
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.writer import derive
from pi10_classifier.packaging.reference import export_reference
from pi10_classifier.report.page import write_report
from pi10_classifier.simulate import encode_tiff
from pi10_classifier.watch.ashore.minute_summary import LINE_BYTES
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.watcher import watch

OTHER_GRAPH = support.tiny_model(support.weights(seed=9))
Start = Callable[..., RunResult]


HEIGHT = re.compile(r'pi10_drift_height\{quantity="(\w+)",subject="\w+"\} (\S+)')


def one_bin(path: Path, number: int, images: int = 600, darker: int = 0) -> Path:
    """A bin as a tar; ``darker``: grey levels that the lamp lost."""
    begin = support.START + timedelta(minutes=10 * number)
    members = support.bin_members(images, begin, number)
    for name, data in members.items():
        if darker and name.startswith("RawImages"):
            image = decode(data)
            rgb = np.clip(image.rgb.astype(int) - darker, 0, 255).astype(np.uint8)
            members[name] = encode_tiff(rgb, image.tags.when or begin, 50.25, -4.2)
    return support.write_tar(path / f"2024-06-24/{begin:%H%M}.tar", dict(members))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good bins, and a third one under a failing lamp."""
    home = tmp_path_factory.mktemp("drift")
    for number in range(2):
        one_bin(home / "good", number)
    one_bin(home / "dark", 2, images=400, darker=12)
    return home


@pytest.fixture(scope="module")
def good(home: Path, package: Path) -> Path:
    classify([str(home / "good")], home / "run", Settings(model=package, jobs=2, camera=True))
    return home / "run"


@pytest.fixture(scope="module")
def reference(good: Path, package: Path) -> Path:
    made = export_reference(good, read_package(package)[0], good.parent / "ref.json")
    assert made.lacking == ("novelty",)  # the tiny model does not tell it
    return made.path


def test_camera_columns_come_only_when_asked_for(good: Path, home: Path, start: Start) -> None:
    plain = start(home / "good").out
    rows, wide = support.rows_of(plain), support.rows_of(good)
    assert not set(CAMERA_COLUMNS) & set(rows[0])
    assert [{k: v for k, v in row.items() if k not in CAMERA_COLUMNS} for row in wide] == rows
    assert all(220 < row["ground_grey"] < 255 and 0 < row["sharpness"] <= 1 for row in wide)
    assert support.tables(plain)["bins.csv"] == support.tables(good)["bins.csv"]
    assert not (plain / "drift.csv").exists()


def test_a_good_run_does_not_alarm(home: Path, reference: Path, start: Start) -> None:
    run = start(home / "good", reference=read_reference(reference))
    rows = support.csv_of(run.out / "drift.csv")
    assert len(rows) == 20 and {row["alarms"] for row in rows} == {""}
    assert abs(np.mean([float(row["ground_shift"]) for row in rows])) < 0.02
    assert sum(int(row["images"]) for row in rows) <= 1200
    assert {row["drift"] for row in support.csv_of(run.out / "bins.csv")} == {""}
    assert not [text for text in run.tally.warnings if "reference" in text]


def test_a_darker_lamp_alarms_as_the_camera(home: Path, reference: Path, start: Start) -> None:
    run = start(home / "good", home / "dark", reference=read_reference(reference))
    by_bin = {row["bin"][-4:]: row["drift"] for row in support.csv_of(run.out / "bins.csv")}
    assert (by_bin["1450"], by_bin["1500"]) == ("", "")
    assert "camera:ground" in by_bin["1510"].split(";")
    rows = support.csv_of(run.out / "drift.csv")
    assert [row["minute"] for row in rows] == sorted(row["minute"] for row in rows)
    dark = [row for row in rows if row["bin"].endswith("1510")]
    assert all(float(row["ground_shift"]) < -0.2 for row in dark)
    assert "ground" in dark[-1]["alarms"] and "camera" in dark[-1]["subjects"]
    (warning,) = [text for text in run.tally.warnings if "the camera differs" in text]
    assert "1 of 3 bins (pia7.2024-06-24.1510)" in warning and "ground (lower)" in warning


def test_resumed_tables_are_those_of_one_run(home: Path, reference: Path, start: Start) -> None:
    told = read_reference(reference)
    whole = start(home / "good", home / "dark", reference=told)
    (next((whole.out / "predictions.parquet").glob("1500*"))).unlink()
    tables = [(whole.out / name).read_bytes() for name in ("drift.csv", "bins.csv")]
    again = start(home / "good", home / "dark", reference=told, resume=True)
    assert again.units_resumed == 2
    assert [(again.out / name).read_bytes() for name in ("drift.csv", "bins.csv")] == tables
    with pytest.raises(SettingError, match="reference was"):
        start(home / "good", home / "dark", resume=True)


def test_a_package_has_its_reference_with_it(
    good: Path, home: Path, package: Path, reference: Path, tmp_path: Path
) -> None:
    cli = CliRunner().invoke(
        pi10, ["export", "reference", str(good), "--model", str(package), "--out",
               str(tmp_path / "pkg")],
    )  # fmt: skip
    assert cli.exit_code == 0, cli.output
    made = read_package(tmp_path / "pkg")[0]
    assert made.reference == read_reference(reference) == read_reference(tmp_path / "pkg")
    assert made.sha256 == read_package(package)[0].sha256
    # what is made of it has other scores
    assert "reference" not in derive(made, "int8")
    assert "## Reference" in (tmp_path / "pkg" / "README.md").read_text()
    out = tmp_path / "out"
    cli = CliRunner().invoke(
        pi10, ["classify", str(home / "dark"), "--model", str(tmp_path / "pkg"), "--out", str(out),
               "--no-report"],
    )  # fmt: skip
    assert cli.exit_code == 0, cli.output
    assert "the camera differs from the reference" in cli.output
    assert (out / "drift.csv").is_file()
    rows = list(csv.DictReader(io.StringIO(table_as_csv(out).decode())))
    assert all(100 < float(row["ground_grey"]) < 256 and None not in row for row in rows)
    assert {row["model"] for row in rows} == {made.name}, "no cell stands under another's name"
    page = write_report(out, tmp_path / "pkg").read_text("utf-8")
    assert 'id="drift"' in page and "ground" in page.partition('id="drift"')[2][:2000]


def test_the_minutes_line_tells_it(
    home: Path, package: Path, reference: Path, tmp_path: Path
) -> None:
    told = Settings(model=package, jobs=2, reference=read_reference(reference))
    prom = tmp_path / "pi10.prom"
    plan = WatchOptions(settle_s=0.0, until_idle=True, metrics_file=prom)
    said: list[dict[str, dict[str, float]]] = []
    for source in ("good", "dark"):
        lines: list[str] = []
        source_folder = tmp_path / "in" / source
        source_folder.mkdir(parents=True)
        for tar in (home / source).rglob("*.tar"):
            (source_folder / tar.name).write_bytes(tar.read_bytes())
        watch(str(tmp_path / "in"), tmp_path / "out", told, plan, emit_line=lines.append,
              environ={}, clock=Clock(1.0))  # fmt: skip
        assert all(len(line.encode()) + 1 < LINE_BYTES for line in lines)
        said.append(json.loads(lines[-1]))
        heights = dict(HEIGHT.findall(prom.read_text("utf-8")))
        assert set(heights) == {*QUANTITIES, MIX}
        alarms = {name: round(float(height), 1) for name, height in heights.items()}
        assert {name: height for name, height in alarms.items() if height} == said[-1]["drift"]
    minutes = 'pi10_drift_alarm_minutes_total{quantity="ground",subject="camera"} '
    assert float(prom.read_text("utf-8").partition(minutes)[2].split()[0]) >= 1
    assert said[0]["drift"] == {}
    assert said[1]["drift"]["ground"] < -1
    with (tmp_path / "out" / "drift.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    assert set(last["alarms"].split(";")) == set(said[1]["drift"])


def test_counts_follow_when_an_input_is_replaced(
    package: Path, reference: Path, tmp_path: Path
) -> None:
    told = Settings(model=package, jobs=2, reference=read_reference(reference))
    plan = WatchOptions(settle_s=0.0, until_idle=True)
    bin_ = support.bin_members(30)
    source = support.write_folder(
        tmp_path / "in", {n.replace("\\", "/"): d for n, d in bin_.items()}
    )
    out = tmp_path / "out"
    watch(str(source), out, told, plan, environ={}, clock=Clock(1.0))
    first = support.name_of(0).replace("\\", "/")
    (source / first).write_bytes(support.particle(77, support.START, side=60))
    watch(str(source), out, told, plan, environ={}, clock=Clock(1.0))
    images = len([row for row in support.rows_of(out) if row["label"] != "no_particle"])
    rows = support.csv_of(out / "drift.csv")
    assert sum(int(row["images"]) for row in rows) == images == 30


class TestRefusals:
    def test_of_another_model(
        self, home: Path, reference: Path, start: Start, tmp_path: Path
    ) -> None:
        other = support.write_package(
            tmp_path / "other", support.tiny_model(support.weights(seed=9))
        )
        with pytest.raises(SettingError, match="made with another model"):
            start(home / "dark", model=other, reference=read_reference(reference))

    def test_of_another_pixel_size(self, home: Path, reference: Path, start: Start) -> None:
        with pytest.raises(SettingError, match="--um-per-px is 5, and the reference"):
            start(home / "dark", um_per_px=5.0, reference=read_reference(reference))

    def test_without_sizes(self, home: Path, reference: Path, start: Start) -> None:
        with pytest.raises(SettingError, match="leave --no-measure out"):
            start(home / "dark", measure=False, reference=read_reference(reference))

    def test_of_a_run_that_is_too_small(
        self, home: Path, package: Path, start: Start, tmp_path: Path
    ) -> None:
        run = start(home / "dark", camera=True).out
        with pytest.raises(SettingError, match="a reference needs 1,000"):
            export_reference(run, read_package(package)[0], tmp_path / "ref.json")
        assert not (tmp_path / "ref.json").exists()

    def test_of_no_run(self, package: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match="holds no finished run"):
            export_reference(tmp_path, read_package(package)[0], tmp_path / "ref.json")

    def test_of_another_models_run(self, good: Path, tmp_path: Path) -> None:
        other = support.write_package(
            tmp_path / "other", support.tiny_model(support.weights(seed=9))
        )
        with pytest.raises(SettingError, match="name that package by --model"):
            export_reference(good, read_package(other)[0], tmp_path / "ref.json")

    def test_of_a_damaged_package(self, package: Path, tmp_path: Path) -> None:
        from pi10_classifier.errors import ModelError

        bad = support.write_package(tmp_path / "bad", reference={"format": 9})
        with pytest.raises(ModelError, match="reference: format is 9"):
            read_package(bad)


def test_a_run_without_camera_columns_makes_a_reference_of_the_rest(
    home: Path, package: Path, start: Start, tmp_path: Path
) -> None:
    run = start(home / "good").out
    cli = CliRunner().invoke(
        pi10, ["export", "reference", str(run), "--model", str(package), "--out",
               str(tmp_path / "ref.json")],
    )  # fmt: skip
    assert cli.exit_code == 0, cli.output
    assert "classify it with --camera" in cli.output
    told = read_reference(tmp_path / "ref.json")
    assert told.names == ("score", "size", "mix")
    done = start(home / "good", out="compared", reference=told)
    assert len(support.csv_of(done.out / "drift.csv")) == 20
    names = pq.read_schema(next((done.out / "predictions.parquet").iterdir())).names
    assert set(CAMERA_COLUMNS) <= set(names)
