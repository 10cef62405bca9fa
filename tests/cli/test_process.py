"""The command ``pi10`` as a process of its own: signals, pipes, imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import support

from pi10_classifier.errors import ExitCode

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


def process(*words: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pi10_classifier", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


class TestProcess:
    def test_as_a_module(self) -> None:
        with process("--version") as running:
            out, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (0, "")
        assert out.startswith("pi10, version")

    def test_reader_that_leaves_is_no_traceback(self) -> None:
        with process("doctor") as running:
            assert running.stdout
            assert running.stderr
            running.stdout.close()
            assert running.stderr.read() == ""

    @posix
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
    def test_stopped_at_work_is_resumable(
        self, number: signal.Signals, package: Path, tmp_path: Path
    ) -> None:
        """Both signals: exit 130, nothing half-written, and --resume ends the work."""
        members = support.bin_members(10)
        for n in range(400):
            support.write_tar(tmp_path / f"in/{n:03}/1450.tar", members)
        out = tmp_path / "out"
        words = ("classify", tmp_path / "in", "--out", out, "--model", package, "--no-report")

        def listen() -> None:  # a shell that starts us in the background has us ignore SIGINT
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        with process(*words, preexec_fn=listen) as running:
            until = time.monotonic() + 60
            while not list(out.glob("predictions.parquet/*.parquet")):
                assert running.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            running.send_signal(number)
            _, err = running.communicate(timeout=60)
        assert running.returncode == ExitCode.INTERRUPTED
        ran, said = err.split("\n", 1)
        assert ran.startswith("model ") and ran.endswith(", fp32")
        assert said.strip() == "interrupted; run again with --resume to go on"
        assert support.litter(out) == []
        assert not (out / "run.json").exists()
        done = len(list(out.glob("predictions.parquet/*")))
        assert 0 < done < 400
        with process(*words, "--resume", "--json") as again:
            said = json.loads(again.communicate(timeout=120)[0])
        assert again.returncode == 0
        assert said["units"] == {"all": 400, "resumed": done}
        assert said["totals"]["results"] == 4000

    def test_classifying_imports_nothing_heavy(self) -> None:
        """Neither training nor serving, nor what only writing or a terminal needs."""
        heavy = (
            "torch", "transformers", "mlflow", "deepaas", "pyarrow", "matplotlib", "rich", "minio",
            "scipy", "pandas", "jinja2", "onnx",
        )  # fmt: skip
        code = "import sys, pi10_classifier.classify; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert {name.partition(".")[0] for name in done.stdout.split()}.isdisjoint(heavy)
