"""Virtual environments for what a benchmark compares with: an earlier commit, or a peer.

Each is made once in a folder, and used again by later runs. What cannot be installed is no
failure: the benchmark says so in a line, and measures the rest.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_READY = "ready"  # written last, so that an interrupted installation is made anew
REPOSITORY = Path(__file__).parent.parent


class UnavailableError(Exception):
    """Something that cannot be compared with; the message says why."""


@dataclass(frozen=True)
class Build:
    """An installed pi10-classifier. name: for the tables. version: its commit."""

    name: str
    python: Path
    version: str

    @classmethod
    def running(cls) -> Build:
        """The build that runs this program, with all that is installed beside it."""
        changed = _git("status", "--porcelain", "--untracked-files=no")
        commit = _git("rev-parse", "--short", "HEAD") or "no git"
        return cls("this build", Path(sys.executable), commit + " and changes" * bool(changed))

    @classmethod
    def this(cls, folder: Path, more: str = "") -> Build:
        """The same build in an environment of its own, as users have it. Raises UnavailableError.

        Beside what developers install, starts are slower: pyarrow imports pandas where it is.
        more: a further extra, as "openvino".
        """
        limits = REPOSITORY / "constraints.txt"
        extras = ",".join(filter(None, ("report", more)))
        home = folder / "-".join(filter(None, ("this", more)))
        python = environment(home, ["--editable", f"{REPOSITORY}[{extras}]"], limits)
        return replace(cls.running(), python=python)

    @classmethod
    def of_commit(cls, commit: str, folder: Path) -> Build:
        """An earlier commit, installed in ``folder``. Raises UnavailableError."""
        known = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
        if not known:
            raise UnavailableError(
                f"--against {commit}: git knows no such commit here; fetch it first"
            )
        home = folder / known[:12]
        source = home / "source"
        if not (home / _READY).exists():
            shutil.rmtree(home, ignore_errors=True)
            source.mkdir(parents=True)
            archive = subprocess.run(
                ["git", "archive", known], cwd=REPOSITORY, check=True, capture_output=True
            )
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
                tar.extractall(source, filter="data")
        # its own constraints: the libraries that it was tested with
        limits = source / "constraints.txt"
        python = environment(home, [f"{source}[report]"], limits if limits.is_file() else None)
        return cls(known[:7], python, known[:7])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its Python, which must not import this repository. Raises UnavailableError."""
        return run_python(self.python, "-P", *arguments)


def environment(home: Path, packages: Sequence[str], constraints: Path | None) -> Path:
    """The Python of an environment in ``home`` that has these packages. Raises UnavailableError."""
    where = home / "environment"
    python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready, asked = home / _READY, " ".join(packages) + "\n" + _digest(constraints)
    if ready.is_file() and ready.read_text() == asked:
        return python
    ready.unlink(missing_ok=True)
    shutil.rmtree(where, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    venv.create(where, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    limits = ["--constraint", str(constraints)] if constraints else []
    try:
        subprocess.run([*command, *limits, *packages], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(where, ignore_errors=True)
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or error.stderr.splitlines() or ["pip failed"])[-1]
        raise UnavailableError(f"{' '.join(packages)} cannot be installed: {reason}") from error
    ready.write_text(asked)
    return python


def _digest(path: Path | None) -> str:
    """Tells whether a file has changed; empty for none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


def run_python(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python with arguments; its output is captured. Raises UnavailableError."""
    offline = os.environ | {"YOLO_OFFLINE": "true"}  # ultralytics looks for updates otherwise
    try:
        return subprocess.run(
            [str(python), *arguments], check=True, capture_output=True, text=True,
            env=offline, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or error.stdout.strip() or "no output").splitlines()[-1]
        raise UnavailableError(
            f"{Path(arguments[-3 if len(arguments) > 2 else 0]).name} failed: {last}"
        ) from error


def _git(*arguments: str) -> str:
    """What git answers; empty where it fails or is absent."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
