"""Trainings of the service: each is ``pi10 train`` in its own process.

Predictions go on meanwhile, because a training occupies no worker. Its progress is read from
the files that it writes. Its processes end when it ends, when it is cancelled, and when the
server ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pi10_classifier.api.client_errors import message_of, without_paths
from pi10_classifier.api.settings import Service
from pi10_classifier.api.trainings.arguments import (
    NotTrainableError,
    command,
    missing,
    require_trainable,
)
from pi10_classifier.api.trainings.progress import progress_of, result_of
from pi10_classifier.errors import Code, ExitCode, InputError, Pi10Error, output_error
from pi10_classifier.sources.archives import is_archive, looks_like_archive

# DEEPaaS waits five seconds for a cancelled training
CANCEL_S = 3.0
__all__ = [
    "TRAININGS",
    "BusyError",
    "NotTrainableError",
    "Training",
    "Trainings",
    "refused",
    "train",
]
LOG = "training.log"
INPUT, MODEL = "input", "model"
_CODES: dict[int, Code] = {
    ExitCode.USAGE: Code.BAD_SETTING,
    ExitCode.NOT_WRITTEN: Code.STORAGE_UNAVAILABLE,
}


class BusyError(InputError):
    """The limit of trainings at a time is reached."""


@dataclass(slots=True)
class Training:
    """One training: its name, which its folder and its MLflow run have too, and its process."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    cancelled: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def state(self) -> str:
        if self.running:
            return "running"
        if self.cancelled:
            return "cancelled"
        return "finished" if self.process.returncode == ExitCode.OK else "failed"

    def to_dict(self) -> dict[str, Any]:
        """The training's state and progress, for a client."""
        fields = {
            "training": self.name,
            "status": self.state,
            "begun": f"{self.begun:%Y-%m-%dT%H:%M:%SZ}",
            **progress_of(self.folder),
        }
        if self.state == "finished":
            fields |= result_of(self.folder) | {"model": self.name}
        if self.state == "failed":
            fields["error"] = {
                "code": _CODES.get(self.process.returncode or 0, Code.INTERNAL),
                "message": without_paths(_last_line(self.folder / LOG)),
            }  # fmt: skip
        return fields

    def cancel(self) -> None:
        """Ask the training to stop, and kill all its processes if it does not soon."""
        self.cancelled = self.cancelled or self.running
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(CANCEL_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.killpg(self.process.pid, number)  # it leads its own process group

    def publish(self) -> None:
        """Copy the best seed's package to where requests find it by the training's name."""
        package = result_of(self.folder).get("package")
        if package:
            beside = self.folder / f".{MODEL}"
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(self.folder / package, beside)
            beside.rename(self.folder / MODEL)


class Trainings:
    """The trainings of this process, in the order in which they began."""

    def __init__(self) -> None:
        self._all: dict[str, Training] = {}
        self._lock = threading.Lock()

    def to_list(self) -> list[dict[str, Any]]:
        return [training.to_dict() for training in list(self._all.values())]

    @property
    def running(self) -> int:
        return sum(training.running for training in list(self._all.values()))

    def begin(
        self, given: Mapping[str, Any], service: Service, environ: Mapping[str, str] = os.environ
    ) -> Training:
        """Start a training. Raises Pi10Error if it cannot begin with these options."""
        require_trainable(given, missing())
        words = command(given, service)
        with self._lock:
            if self.running >= service.max_trainings:
                raise BusyError(
                    Code.BAD_SETTING,
                    f"{self.running} trainings are running, which is the limit; wait for "
                    "them, or cancel one",
                )
            name = f"training-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            folder = service.trainings / name
            try:
                service.trainings.mkdir(0o700, parents=True, exist_ok=True)
                (folder / INPUT).mkdir(parents=True)
                source = _source(given, service, folder / INPUT)
                process = _start(["train", str(source), f"--out={folder}", *words], folder,
                                 environ)  # fmt: skip
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise output_error(error, folder) from error
            except Pi10Error:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            training = self._all[name] = Training(name, folder, process)
            return training

    def wait(self, training: Training) -> dict[str, Any]:
        """Wait for the training's end; returns its final state."""
        training.process.wait()
        if training.process.stdin:
            training.process.stdin.close()  # the training stays in the list, its pipe need not
        shutil.rmtree(training.folder / INPUT, ignore_errors=True)
        if training.state == "finished":
            training.publish()
        return training.to_dict()

    async def follow(self, training: Training) -> dict[str, Any]:
        """``wait`` without blocking. If cancelled, it cancels the training and still answers."""
        waiting = asyncio.ensure_future(asyncio.to_thread(self.wait, training))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            await asyncio.to_thread(training.cancel)
            return await waiting

    def close(self) -> None:
        """Cancel all trainings at once, when the server ends: its grace period is short."""
        running = [training for training in list(self._all.values()) if training.running]
        threads = [threading.Thread(target=training.cancel) for training in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


TRAININGS = Trainings()


def train(environ: Mapping[str, str] = os.environ, **given: Any) -> dict[str, Any]:
    """Train and wait. DEEPaaS's command line calls this, and a server without our pool."""
    try:
        training = TRAININGS.begin(given, Service.from_environ(environ), environ)
    except Pi10Error as error:
        return refused(error)
    try:
        return TRAININGS.wait(training)
    except BaseException:
        training.cancel()
        raise


def refused(error: Pi10Error) -> dict[str, Any]:
    return {"status": "refused", "error": {"code": error.code.value, "message": message_of(error)}}


def _source(given: Mapping[str, Any], service: Service, folder: Path) -> Path:
    """The data set: from the service's folder by its name, or the upload, moved to ``folder``."""
    if given.get("dataset"):
        assert service.data_dir  # noqa: S101  the name was checked against it
        return service.data_dir / str(given["dataset"])
    data = given["data"]
    files = getattr(data, "files", None)
    if files is None:  # from DEEPaaS's command line
        path = Path(data.filename)
    elif len(files) == 1:
        path = files[0].path
    else:
        raise InputError(
            Code.BAD_SETTING, f"{len(files)} files were sent; send one archive of them"
        )
    with path.open("rb") as stream:
        head = stream.read(512)
    # only archives: a table would name paths on this machine, and a client must not open those
    if not looks_like_archive(head):
        raise InputError(
            Code.UNSUPPORTED_FORMAT,
            "the data are not an archive; send a tar or zip of label/image files",
        )
    name = "data.zip" if head.startswith(b"PK") else "data.tar"
    assert is_archive(name)  # noqa: S101
    shutil.move(path, folder / name)
    return folder / name


def _start(words: list[str], folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "pi10_classifier.api.trainings.child_process", *words],
            stdin=subprocess.PIPE,  # held open: the child ends when it closes
            stdout=log, stderr=subprocess.STDOUT, cwd=folder.parent, env=dict(environ),
            start_new_session=True,
        )  # fmt: skip


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return (lines or ["the training wrote nothing"])[-1][:1000].removeprefix("pi10: ")
