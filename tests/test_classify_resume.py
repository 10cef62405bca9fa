"""A run that goes on: no work twice, and never with other settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import support

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.sources.base import Limits

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")

Start = Callable[..., RunResult]


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(*_: object) -> NoReturn:
        raise AssertionError("work is done twice")

    monkeypatch.setattr(Engine, "process", process)


class TestResume:
    def test_does_no_work_twice(
        self, start: Start, cruise: Path, uninterrupted: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        first = start(cruise)
        forbid_work(monkeypatch)
        again = start(cruise, resume=True)
        assert again.units_resumed == again.units == 4
        assert again.tally.totals == first.tally.totals
        assert again.exit_code is first.exit_code
        assert support.tables(again.out) == uninterrupted

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"batch": 4}, "batch"),
            ({"measure": False}, "measure"),
            ({"um_per_px": 5.0}, "um_per_px"),
            ({"limits": Limits(members=10)}, "limits"),
        ],
    )
    def test_changed_setting_refuses_and_is_named(
        self, start: Start, tmp_path: Path, options: dict[str, Any], named: str
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        before = support.tables(start(path).out)
        with pytest.raises(SettingError, match=f"{named} was"):
            start(path, resume=True, **options)
        assert support.tables(tmp_path / "out") == before
        start(path, overwrite=True, **options)

    def test_the_option_of_the_old_run_is_named(self, start: Start, tmp_path: Path) -> None:
        """Calls of a graph in int8 had 8 images before, and their default may change again."""
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path, batch=5)
        with pytest.raises(SettingError, match=r"batch was 5, is 8.*old settings \(--batch 5\)"):
            start(path, resume=True)
        assert start(path, resume=True, batch=5).units_resumed == 1

    @pytest.mark.parametrize("device", ["openvino", "openvino:bf16"])
    def test_another_runtime_refuses_and_is_named(
        self, start: Start, tmp_path: Path, package: Path, device: str
    ) -> None:
        """Whether it is installed or not: a folder knows what its rows were made by."""
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        out = start(path).out
        record = json.loads((out / "run.json").read_text())
        assert (record["runtime"]["library"], record["runtime"]["precision"]) == (
            "ONNX Runtime", "fp32",
        )  # fmt: skip
        assert record["parameters"]["runtime"] == "ONNX Runtime"
        other = Settings(model=package, jobs=2, device=device)
        fields = {"inputs": [str(path)], **other.fingerprint(read_package(package)[0])}
        folder = RunFolder(out, support.CLASSES)
        named = r"device was 'cpu', is 'openvino.*runtime was 'ONNX Runtime', is 'OpenVINO'"
        try:
            with pytest.raises(SettingError, match=named) as caught:
                folder.open(fields, resume=True, overwrite=False)
        finally:
            folder.close()
        assert "use the old settings (--device cpu)" in caught.value.message
        assert ("precision was 'fp32', is 'bf16'" in caught.value.message) == ("bf16" in device)
        assert start(path, resume=True, device="auto").units_resumed == 1

    def test_a_run_of_before_runtimes_were_recorded_resumes(
        self, start: Start, tmp_path: Path
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        known = start(path).out / "journal/settings.json"
        fields = json.loads(known.read_text())
        del fields["runtime"], fields["precision"]
        known.write_text(json.dumps(fields))
        assert start(path, resume=True).units_resumed == 1

    def test_other_model_refuses(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path)
        other = support.write_package(tmp_path / "m", support.tiny_model(support.weights(seed=9)))
        with pytest.raises(SettingError, match="model_sha256 was"):
            start(path, resume=True, model=other)

    def test_other_thresholds_refuse(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path)
        other = support.write_package(tmp_path / "m", thresholds={"copepod": 0.9})
        with pytest.raises(SettingError, match="thresholds was"):
            start(path, resume=True, model=other)

    def test_jobs_may_change(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(2))
        start(path, jobs=1)
        assert start(path, resume=True, jobs=3).units_resumed == 1

    def test_changed_source_is_done_again(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(4))
        start(path)
        support.write_tar(path, support.bin_members(9))
        run = start(path, resume=True)
        assert run.units_resumed == 0
        assert run.tally.totals["results"] == 9
        assert len(support.rows_of(run.out)) == 9

    def test_added_source_adds(self, start: Start, tmp_path: Path) -> None:
        home = tmp_path / "in"
        support.write_tar(home / "a.tar", support.bin_members(4))
        start(home)
        later = support.START + timedelta(minutes=10)
        support.write_tar(home / "b.tar", support.bin_members(3, later))
        run = start(home, resume=True)
        assert (run.units, run.units_resumed) == (2, 1)
        assert run.tally.totals["results"] == 7

    def test_retryable_failures_are_done_again(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(4))
        with monkeypatch.context() as patch:
            patch.setattr(Model, "raw_answer", lambda *_: 1 / 0)
            first = start(path)
        assert first.tally.failures_by_code == {"internal": 4}
        second = start(path, resume=True)
        assert second.exit_code is ExitCode.OK
        assert second.tally.totals["results"] == 4

    def test_terminal_failures_are_not(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = support.write_tar(tmp_path / "a.tar", {"a.tif": b"", "b.tif": support.particle(1)})
        start(path)
        forbid_work(monkeypatch)
        assert start(path, resume=True).exit_code is ExitCode.SOME_FAILED

    def test_shrunk_folder_drops_its_blocks(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pi10_classifier.sources.local.BLOCK_FILES", 4)
        home = support.write_folder(
            tmp_path / "in", {f"{n:02}.tif": support.particle(n) for n in range(10)}
        )
        assert start(home).units == 3
        for n in range(3, 10):
            (home / f"{n:02}.tif").unlink()
        run = start(home, resume=True)
        assert run.tally.totals["inputs"] == len(support.rows_of(run.out)) == 3
        fresh = start(home, out="fresh")
        assert support.tables(run.out) == support.tables(fresh.out)

    def test_run_is_refused_without_a_word(self, start: Start, tmp_path: Path) -> None:
        path = support.write_tar(tmp_path / "a.tar", support.bin_members(1))
        start(path)
        with pytest.raises(SettingError, match="--resume"):
            start(path)
