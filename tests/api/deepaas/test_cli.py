"""``deepaas-cli``, as the OSCAR dashboard calls it: every value a string, one file answered."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import support

_RUN = "from deepaas.cmd.cli import main; main()"  # what the script deepaas-cli does


@pytest.fixture
def call(tmp_path: Path):
    """Run ``deepaas-cli predict`` on an image; its answer's file is ``tmp_path/out.*``."""
    (tmp_path / "tmp").mkdir()
    support.write_package(tmp_path / "models/tiny")

    def run(data: bytes = support.particle(1), **options: str) -> subprocess.CompletedProcess[str]:
        image = tmp_path / "a.tif"
        image.write_bytes(data)
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return subprocess.run(
            [sys.executable, "-c", _RUN, "--deepaas_method_output", str(tmp_path / "out"),
             "predict", "--data", str(image), "--model", "tiny", *words],
            capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
            env={**os.environ, "DEEPAAS_V2_MODEL": "pi10_classifier",
                 "TMPDIR": str(tmp_path / "tmp"), "PI10_MODELS_DIR": str(tmp_path / "models")},
        )  # fmt: skip

    return run


def test_json_with_every_value_a_string(call, tmp_path: Path) -> None:
    done = call(top_k="1", measurements="false", batch_size="2", thresholds='{"copepod": 1}')
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out.json").read_text("utf-8"))
    (found,) = told["predictions"]
    assert (told["status"], len(found["top"]), found["esd_um"]) == ("ok", 1, None)
    assert found["source"] == "a.tif"
    assert (tmp_path / "a.tif").exists()
    assert not list((tmp_path / "tmp").glob("pi10-*"))


def test_another_kind_of_answer_is_stored(call, tmp_path: Path) -> None:
    done = call(accept="application/vnd.apache.parquet")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(io.BytesIO((tmp_path / "out.parquet").read_bytes())).num_rows == 1


def test_a_wrong_option_is_named(call, tmp_path: Path) -> None:
    done = call(top_k="0")
    assert done.returncode == 0, done.stderr
    problem = json.loads((tmp_path / "out.json").read_text("utf-8"))["error"]
    assert (problem["code"], problem["option"]) == ("bad_setting", "top_k")


def test_where_there_is_nothing_to_store_it_fails(call, tmp_path: Path) -> None:
    done = call(b"no image", accept="text/csv")
    assert done.returncode == 1
    assert "neither TIFF, PNG or JPEG nor" in done.stdout + done.stderr
    assert not list(tmp_path.glob("out*"))
