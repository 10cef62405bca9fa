"""The command that installs an extra works where this program came from."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pi10_classifier.foundation import extras

SOURCE = Path(__file__).parents[2]


class Installed:
    def __init__(self, told):
        self._told = told

    def read_text(self, name):
        assert name == "direct_url.json"
        return self._told if self._told is None else json.dumps(self._told)


@pytest.fixture
def command(monkeypatch):
    def of(told):
        extras._origin.cache_clear()
        monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed(told))
        return extras.install_command("report,train")

    yield of
    extras._origin.cache_clear()


def test_a_folder_is_named_with_its_pins(command, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "setup.cfg").touch()
    told = {"dir_info": {"editable": True}, "url": folder.as_uri()}
    assert shlex.split(command(told)) == ["pip", "install", f"{folder}[report,train]"]
    (folder / "constraints.txt").touch()
    words = shlex.split(command(told))
    assert words == ["pip", "install", "-c", f"{folder}/constraints.txt", f"{folder}[report,train]"]


def test_a_repository_is_named(command):
    told = {"vcs_info": {"vcs": "git", "commit_id": "0" * 40}, "url": "https://host.example/p.git"}
    found = command(told)
    assert found == 'pip install "pi10-classifier[report,train] @ git+https://host.example/p.git"'


@pytest.mark.parametrize(
    "told",
    [None, {}, {"archive_info": {}, "url": "file:///gone/p.whl"},
     {"dir_info": {}, "url": "file:///gone/source"}],
)  # fmt: skip
def test_elsewhere_the_folder_of_the_source_is_meant(command, told):
    assert command(told).startswith(
        'pip install -c constraints.txt ".[report,train]" in the folder'
    )


def test_pip_understands_it():
    """A dry run of pip with the command for an extra that is installed already."""
    extras._origin.cache_clear()
    words = shlex.split(extras.install_command("report"))
    if not words[-1].startswith(str(SOURCE)):
        pytest.skip("this program is not installed from its source folder")
    run = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run",
         "--no-deps", "--no-build-isolation", "--no-index", *words[2:]],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "No module named pip" in run.stderr:
        pytest.skip("pip is not installed")
    assert run.returncode == 0, run.stderr
