"""Runs faas-supervisor as a process, as OSCAR's jobs do: download, script, upload.

It is the published program in its own virtual environment, because its requirements are
malformed and cannot be resolved together with other packages.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import Pi10Error, SettingError
from pi10_classifier.oscar.local.mounted_bucket import MountedBucket
from pi10_classifier.oscar.services.fdl import Service

VERSION = "1.5.8"
# its requirements by hand, because its own text reads "webdavclient3==3.14.6requests"
_NEEDS = ("webdavclient3==3.14.6", "requests", "boto3", "pyyaml", "setuptools<81")
# OSCAR's Job starts it like this: the event passes through the shell's echo, unquoted
_COMMAND = 'echo $EVENT | "$PI10_SUPERVISOR" -m faassupervisor.supervisor'
_SYNC = '"$PI10_SUPERVISOR" -m faassupervisor.supervisor'


@dataclass(frozen=True, slots=True)
class Storage:
    """The S3 server that jobs download from and upload to."""

    url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def to_provider(self) -> dict[str, object]:
        return {
            "endpoint": self.url,
            "verify": False,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "region": self.region,
        }


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. ``output`` is the output of the container."""

    returncode: int
    seconds: float
    output: str


def installed(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The Python with faas-supervisor: ``PI10_SUPERVISOR_PYTHON``, else our own, else None."""
    named = environ.get("PI10_SUPERVISOR_PYTHON")
    path = Path(named) if named else _home(environ) / "bin" / "python"
    if named and not path.is_file():
        raise SettingError(
            f"PI10_SUPERVISOR_PYTHON is {named!r}, which is not a file; give the path of a Python "
            "with faas-supervisor, or unset it"
        )
    return path if path.is_file() and (named or (_home(environ) / "ready").is_file()) else None


def install(environ: Mapping[str, str] = os.environ) -> Path:
    """Make its virtual environment once; this takes half a minute and needs a package index.

    Raises SettingError if pip fails.
    """
    home = _home(environ)
    python = home / "bin" / "python"
    venv.create(home, with_pip=True, clear=True)
    for more in (("--no-deps", f"faas-supervisor=={VERSION}"), _NEEDS):
        done = subprocess.run(  # noqa: S603  pip of our own environment
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *more],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SettingError(
                f"faas-supervisor cannot be installed: {done.stderr.strip()[-300:]}; "
                "make a virtual environment with it, and name its Python in PI10_SUPERVISOR_PYTHON"
            )
    (home / "ready").touch()
    return python


def _home(environ: Mapping[str, str]) -> Path:
    cache = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(cache) / "pi10-classifier" / f"faas-supervisor-{VERSION}-py{version}"


@dataclass(frozen=True, slots=True)
class SupervisorJob:
    """Runs the jobs of one service, each in its own folder, as in a container."""

    service: Service
    storage: Storage
    supervisor: Path
    scratch: Path
    mirror: MountedBucket | None = None

    def job(self, event: bytes, watch: Callable[[subprocess.Popen[bytes]], None]) -> JobEnd:
        """Run one asynchronous job; ``watch`` gets its process and may kill it."""
        text = event.decode("utf-8", "surrogateescape")
        if self.mirror is None:
            return self._run(_COMMAND, b"", {"EVENT": text}, watch)
        try:
            with self.mirror.attached():
                more = {"EVENT": text, "PI10_MOUNT": str(self.mirror.root)}
                return self._run(_COMMAND, b"", more, watch)
        except Pi10Error as error:  # the mount is gone: handled like a lost node
            return JobEnd(-1, 0.0, f"the bucket could not be mounted: {error.message}\n")

    def call(self, body: bytes) -> JobEnd:
        """Run one synchronous call; its output is the answer."""
        return self._run(_SYNC, body, {}, lambda _: None)

    def _run(
        self,
        command: str,
        body: bytes,
        more: Mapping[str, str],
        watch: Callable[[subprocess.Popen[bytes]], None],
    ) -> JobEnd:
        started = time.monotonic()
        home = Path(tempfile.mkdtemp(prefix="job-", dir=self.scratch))
        process = subprocess.Popen(  # noqa: S603  a constant command
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if more else subprocess.DEVNULL,
            cwd=home,
            env={**self._environ(home), **more},
            start_new_session=True,
        )
        try:
            watch(process)
            output, _ = process.communicate(body)
        except BaseException:
            kill(process)
            raise
        finally:
            process.wait()
            shutil.rmtree(home, ignore_errors=True)
        return JobEnd(
            process.returncode, time.monotonic() - started, output.decode("utf-8", "replace")
        )

    def _environ(self, home: Path) -> dict[str, str]:
        """The environment of a container; of our own environment, only the path of Python."""
        config = {
            "name": self.service.name,
            "log_level": self.service.fdl.get("log_level", "INFO"),
            "file_stage_in": self.service.fdl.get("file_stage_in", False),
            "input": list(self.service.fdl.get("input", ())),
            "output": list(self.service.fdl.get("output", ())),
            "storage_providers": {"minio": {"default": self.storage.to_provider()}},
        }
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "PI10_SUPERVISOR": str(self.supervisor),
            "PI10_PYTHON": sys.executable,
            **self.service.variables,
            # JSON is YAML
            "FUNCTION_CONFIG": base64.b64encode(json.dumps(config).encode()).decode(),
            "SCRIPT": base64.b64encode(self.service.script.encode()).decode(),
        }


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a job and all processes that it started, like the loss of a node."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
