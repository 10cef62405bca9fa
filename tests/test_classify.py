"""The main job: every input accounted for, the same bytes whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
import support

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.inference import pipeline
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.pipeline import Progress
from pi10_classifier.inference.settings import Settings
from pi10_classifier.results.columns import columns

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")

Start = Callable[..., RunResult]


def failures(out: Path) -> list[tuple[str, str]]:
    lines = support.csv_of(out / "failures.csv")
    return [(line["member"].rpartition("\\")[2], line["code"]) for line in lines]


class TestRun:
    def test_writes_what_is_documented(self, start: Start, cruise: Path, tmp_path: Path) -> None:
        run = start(cruise)
        assert run.exit_code is ExitCode.SOME_FAILED
        assert dict(run.tally.totals) == {
            "inputs": 50 + 80 + 110 + 3 * 4 + 41, "results": 280, "failures": 7, "skipped": 6,
        }  # fmt: skip
        assert run.units == 4
        table = ds.dataset(run.out / "predictions.parquet").to_table()
        assert table.num_rows == 280
        assert table.column_names == columns(support.CLASSES)
        names = table.column("particle_id").to_pylist()
        assert len(set(names)) == 280
        said = json.loads((run.out / "run.json").read_text("utf-8"))
        assert said["totals"] == dict(run.tally.totals)
        assert said["failures_by_code"] == {"corrupt_image": 4, "empty_object": 3}
        assert sum(said["results_by_class"].values()) == 280
        assert (said["exit_code"], said["complete"]) == (3, True)
        assert said["parameters"]["inputs"] == [str(cruise)]
        assert said["model"]["sha256"] == said["parameters"]["model_sha256"]
        assert said["model"]["graphs"] == {"model.onnx": said["model"]["sha256"]}
        assert all(said["versions"].values())
        assert support.litter(run.out) == []
        lines = support.csv_of(run.out / "counts.csv")
        assert sum(int(line["count"]) for line in lines) == 280

    @pytest.mark.parametrize("jobs", [1, 2, 5])
    def test_any_number_of_jobs_gives_the_same_bytes(
        self, start: Start, cruise: Path, uninterrupted: dict[str, str], jobs: int
    ) -> None:
        assert support.tables(start(cruise, jobs=jobs).out) == uninterrupted

    def test_order_of_inputs_is_irrelevant(self, start: Start, cruise: Path) -> None:
        bins = sorted(cruise.glob("2024-06-24/*.tar"))
        one = support.tables(start(*bins, out="one").out)
        other = support.tables(start(*reversed(bins), bins[0], out="other").out)
        assert one == other

    def test_order_of_finishing_is_irrelevant(
        self,
        start: Start,
        cruise: Path,
        uninterrupted: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        process, rng, lock = Engine.process, random.Random(5), threading.Lock()

        def dawdle(self: Engine, *args: Any) -> Any:
            with lock:
                pause = rng.choice((0, 0, 0.02))
            time.sleep(pause)
            return process(self, *args)

        monkeypatch.setattr(Engine, "process", dawdle)
        assert support.tables(start(cruise, jobs=5).out) == uninterrupted

    def test_batch_size_changes_no_label(self, start: Start, cruise: Path) -> None:
        bins = next(cruise.glob("2024-06-24/1450.tar"))
        alone, many = start(bins, out="alone", batch=1), start(bins, out="many", batch=32)
        for one, other in zip(support.rows_of(alone.out), support.rows_of(many.out), strict=True):
            assert one["label"] == other["label"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-6)

    def test_tar_zip_and_folder_agree(self, start: Start, tmp_path: Path) -> None:
        members = support.bin_members(30)
        members[support.name_of(99)] = b"no image"
        kept = ("particle_id", "datetime", "label", "score", "esd_um", "flags")
        found = []
        for number, path in enumerate(
            (
                support.write_tar(tmp_path / "tar/1450.tar", members),
                support.write_zip(tmp_path / "zip/1450.zip", members),
                support.write_folder(tmp_path / "folder/1450", members),
            )
        ):
            run = start(path, out=str(number))
            assert run.exit_code is ExitCode.SOME_FAILED
            assert len(failures(run.out)) == 1
            bins = (run.out / "bins.csv").read_bytes()
            found.append(([[r[k] for k in kept] for r in support.rows_of(run.out)], bins))
        assert found[0] == found[1] == found[2]

    def test_progress_counts_up_to_the_totals(
        self, package: Path, cruise: Path, tmp_path: Path
    ) -> None:
        seen: list[Progress] = []
        chosen = Settings(model=package, jobs=2)
        run = classify([str(cruise)], tmp_path / "out", chosen, progress=seen.append)
        assert [p.inputs for p in seen] == sorted(p.inputs for p in seen)
        assert seen[-1].inputs == run.tally.totals["inputs"]
        assert seen[-1].failures == run.tally.totals["failures"]
        size = sum(p.stat().st_size for p in cruise.rglob("*") if p.is_file())
        assert seen[-1].bytes_done == size

    @linux
    def test_undecodable_path(self, start: Start, tmp_path: Path) -> None:
        home = tmp_path / os.fsdecode(b"caf\xe9")
        support.write_tar(home / os.fsdecode(b"\xff.tar"), support.bin_members(2))
        support.write_folder(home / "loose", {os.fsdecode(b"\xfe.tif"): support.particle(1)})
        run = start(home)
        assert run.exit_code is ExitCode.OK
        assert {
            Path(row["source"]).parts[len(tmp_path.parts)] for row in support.rows_of(run.out)
        } == {"caf\\xe9"}
        assert start(home, resume=True).units_resumed == 2


class TestNothingToRead:
    def test_a_refused_address_leaves_no_run_behind(self, package: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match="AWS_ENDPOINT_URL is not set"):
            classify(["s3://nosuch/x"], tmp_path / "out", Settings(model=package), environ={})
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("members", "code"),
        [
            ({}, ExitCode.NOTHING_READ),
            ({"Background.tif": b"x", "notes.txt": b"y"}, ExitCode.NOTHING_READ),
            ({"a.tif": b""}, ExitCode.NOTHING_READ),
            ({"2024-06-24/1450/HitsMisses.txt": b"0,0\n" * 10}, ExitCode.OK),
        ],
        ids=["empty", "sidecars only", "broken only", "a bin that saved nothing"],
    )
    def test_folder(
        self, start: Start, tmp_path: Path, members: dict[str, bytes], code: ExitCode
    ) -> None:
        run = start(support.write_folder(tmp_path / "in", members))
        assert run.exit_code is code
        assert (run.out / "run.json").is_file()
        assert (run.out / "failures.csv").is_file()

    def test_model_that_gives_nan(self, start: Start, tmp_path: Path) -> None:
        w = support.weights() * np.float32(1e38)  # overflows on white, not on black
        folder = support.write_package(tmp_path / "nan", support.tiny_model(w))
        run = start(support.write_tar(tmp_path / "a.tar", support.bin_members(5)), model=folder)
        assert run.exit_code is ExitCode.NOTHING_READ
        assert run.tally.failures_by_code == {"internal": 5}
        assert support.rows_of(run.out) == []


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("jobs", 0), ("jobs", -1), ("jobs", 257), ("batch", 0), ("batch", 1025),
            ("um_per_px", 0), ("um_per_px", -3), ("um_per_px", float("nan")),
            ("um_per_px", float("inf")),
        ],
    )  # fmt: skip
    def test_unusable_value_is_named(self, package: Path, name: str, value: float) -> None:
        with pytest.raises(SettingError, match=name.replace("_", "-")):
            Settings(**{"model": package, name: value})

    @pytest.mark.parametrize("text", ["/no/such/path", "http://x/y.tar", "file:///etc/passwd"])
    def test_unusable_input_leaves_no_folder(
        self, package: Path, tmp_path: Path, text: str
    ) -> None:
        with pytest.raises(SettingError, match="input"):
            classify([text], tmp_path / "out", Settings(model=package))
        assert not (tmp_path / "out").exists()

    def test_no_input(self, package: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match="no input"):
            classify([], tmp_path / "out", Settings(model=package))


class TestDefects:
    def test_a_defect_in_reading_costs_its_unit(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pi10_classifier.sources import local
        from pi10_classifier.sources.base import Item

        def archive_items(source: str, *_: object) -> Iterator[Item]:
            yield Item(source, "a.tif", support.particle(1))
            if source.endswith("bad.tar"):
                raise RuntimeError("a defect")

        monkeypatch.setattr(local, "archive_items", archive_items)
        for name in ("bad.tar", "good.tar"):
            support.write_tar(tmp_path / "in" / name, {"x": b""})
        run = start(tmp_path / "in")
        assert dict(run.tally.totals) == {"inputs": 3, "results": 2, "failures": 1, "skipped": 0}
        assert "a defect" in (run.out / "failures.csv").read_text()

    def test_memory_held_by_chunks_is_bounded(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline, "HELD_BYTES", 1_000_000)
        monkeypatch.setattr("pi10_classifier.inference.chunks.CHUNK_BYTES", 1)
        held, most, lock = 0, 0, threading.Lock()
        read, process = pipeline.items_of, Engine.process

        def counted(unit: Any) -> Any:
            nonlocal held, most
            for item in read(unit):
                with lock:
                    held += len(item.data or b"")
                    most = max(most, held)
                yield item

        def finished(self: Engine, chunk: Any, gallery: Any) -> Any:
            nonlocal held
            time.sleep(0.005)
            try:
                return process(self, chunk, gallery)
            finally:
                with lock:
                    held -= sum(len(item.data or b"") for item in chunk)

        monkeypatch.setattr(pipeline, "items_of", counted)
        monkeypatch.setattr(Engine, "process", finished)
        noise = {f"{n}.tif": bytes(400_000) for n in range(20)}
        run = start(support.write_tar(tmp_path / "a.tar", noise), jobs=4)
        assert run.tally.totals["failures"] == 20
        assert most <= 1_000_000 + 2 * 400_000


class TestResultsAmongTheInputs:
    def test_images_beside_the_results_of_a_run_are_read(
        self, start: Start, tmp_path: Path
    ) -> None:
        """An earlier --out in the data hides none of them; its own files are no inputs."""
        home = tmp_path / "cruise"
        support.write_tar(home / "day/1450.tar", support.bin_members(20))
        support.write_folder(home / "day/loose", {"a.tif": support.particle(1)})
        first = start(home / "day/1450.tar", out="cruise/day")
        again = start(home, out="again")
        assert first.tally.totals["results"] == 20
        assert again.tally.totals["results"] == 21
        assert any("results of earlier runs" in warning for warning in again.tally.warnings)
        third = start(home, out="cruise/day/third")
        assert third.tally.totals["results"] == 21
        fourth = start(home, out="fourth")
        assert fourth.tally.totals["results"] == 21

    def test_a_folder_may_be_its_own_output(self, start: Start, tmp_path: Path) -> None:
        images = {f"{n}.tif": support.particle(n) for n in range(4)}
        home = support.write_folder(tmp_path / "in", images)
        assert start(home, out="in").tally.totals["results"] == 4
        assert start(home, out="other").tally.totals["results"] == 4
