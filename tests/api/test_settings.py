"""The service's settings: from the environment, refused where they are unusable."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pi10_classifier.api.settings import Service, variable
from pi10_classifier.errors import SettingError


def test_defaults_and_what_is_given(tmp_path: Path) -> None:
    given = {"PI10_MAX_IMAGES": " 7 ", "PI10_MODELS_DIR": str(tmp_path), "PI10_JOBS": "3"}
    found = Service.from_environ(given)
    assert (found.max_images, found.models_dir, found.jobs) == (7, tmp_path, 3)
    assert found.max_upload_mb == Service().max_upload_mb
    assert found.limits.members == 7
    assert found.upload_bytes == found.max_upload_mb * 2**20


def test_the_device_is_checked_at_the_start() -> None:
    assert Service.from_environ({"PI10_DEVICE": "openvino:bf16"}).device == "openvino:bf16"
    # each model chooses what auto stands for: its int8 graph, or cpu
    assert Service.from_environ({"PI10_DEVICE": "auto"}).device == "auto"
    with pytest.raises(
        SettingError, match="device 'abacus' cannot be used: it is unknown; use one of auto"
    ):
        Service.from_environ({"PI10_DEVICE": "abacus"})


@pytest.mark.parametrize("value", ["0", "-1", "x", "1e3", "1.5", "9" * 30, "٣"])
def test_numbers_that_are_none(value: str) -> None:
    with pytest.raises(SettingError, match="PI10_MAX_IMAGES"):
        Service.from_environ({"PI10_MAX_IMAGES": value})


@pytest.mark.parametrize("name", ["models_dir", "data_dir", "train_dir"])
def test_folders_that_are_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=variable(name)):
        Service.from_environ({variable(name): str(tmp_path / "no")})


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_a_folder_that_may_not_be_written_to() -> None:
    folder = Path(tempfile.mkdtemp())  # not below pytest's, which others cannot even see
    folder.chmod(0o500)
    user = os.geteuid()
    try:
        if user == 0:  # root may write everywhere
            os.seteuid(65534)
        with pytest.raises(SettingError, match=r"PI10_TRAIN_DIR is .*may not write to"):
            Service(train_dir=folder)
    finally:
        os.seteuid(user)
        folder.rmdir()


def test_caps_are_told() -> None:
    told = Service(max_images=5).to_dict()
    assert told["max_images"] == 5
    assert not any(name.endswith("_dir") for name in told)


def test_a_bad_value_stops_the_server_at_start(tmp_path: Path) -> None:
    """DEEPaaS would otherwise go on and serve its own test model."""
    done = subprocess.run(
        [sys.executable, "-c", "from deepaas.cmd.run import main; main()",
         "--model-name", "pi10_classifier", "--listen-port", "0"],
        env={"PI10_MAX_IMAGES": "many", "PATH": "/usr/bin:/bin"}, cwd=tmp_path,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pi10: PI10_MAX_IMAGES is 'many'; give a whole number" in done.stderr
