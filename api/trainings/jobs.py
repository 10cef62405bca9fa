"""Trainings of the service: each is ``pi10 train`` in its own process.

Predictions go on meanwhile, for no worker is taken up. What a training is at is read from
the files it writes; its processes end with it, when it is cancelled, and with the server.
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
from pi10_classifier.api.trainings.arguments import NotTrainableError, chosen, command, missing
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
    """As many trainings run as may."""


@dataclass(slots=True)
class Training:
    """One training: its name (of its folder and its MLflow run, too) and its process."""

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

    def told(self) -> dict[str, Any]:
        """What a client is told of it, at any time."""
        found = {
            "training": self.name,
            "status": self.state,
            "begun": f"{self.begun:%Y-%m-%dT%H:%M:%SZ}",
            **progress_of(self.folder),
        }
        if self.state == "finished":
            found |= result_of(self.folder) | {"model": self.name}
        if self.state == "failed":
            found["error"] = {
                "code": _CODES.get(self.process.returncode or 0, Code.INTERNAL),
                "message": without_paths(_last_line(self.folder / LOG)),
            }  # fmt: skip
        return found

    def cancel(self) -> None:
        """Stop it between two steps, or after a moment for good, with all its processes."""
        self.cancelled = self.cancelled or self.running
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(CANCEL_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.killpg(self.process.pid, number)  # its group: it was started as a session

    def publish(self) -> None:
        """Put the package of the best seed where ``packages`` finds it, by the training's name."""
        package = result_of(self.folder).get("package")
        if package:
            beside = self.folder / f".{MODEL}"
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(self.folder / package, beside)
            beside.rename(self.folder / MODEL)


class Trainings:
    """The trainings of this process, in the order they began."""

    def __init__(self) -> None:
        self._all: dict[str, Training] = {}
        self._lock = threading.Lock()

    def told(self) -> list[dict[str, Any]]:
        return [training.told() for training in list(self._all.values())]

    @property
    def running(self) -> int:
        return sum(training.running for training in list(self._all.values()))

    def begin(
        self, given: Mapping[str, Any], service: Service, environ: Mapping[str, str] = os.environ
    ) -> Training:
        """Start one. Raises Pi10Error where it cannot be begun as asked for."""
        chosen(given, missing())
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
        """Wait for its end; returns what is told of it then."""
        training.process.wait()
        if training.process.stdin:
            training.process.stdin.close()  # it is remembered for ever, its pipe need not be
        shutil.rmtree(training.folder / INPUT, ignore_errors=True)
        if training.state == "finished":
            training.publish()
        return training.told()

    async def follow(self, training: Training) -> dict[str, Any]:
        """``wait`` without a worker; cancelled, it cancels the training and answers as well."""
        waiting = asyncio.ensure_future(asyncio.to_thread(self.wait, training))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            await asyncio.to_thread(training.cancel)
            return await waiting

    def close(self) -> None:
        """End all of them, when the server ends: side by side, for its grace is short."""
        running = [training for training in list(self._all.values()) if training.running]
        enders = [threading.Thread(target=training.cancel) for training in running]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()


TRAININGS = Trainings()


def train(environ: Mapping[str, str] = os.environ, **given: Any) -> dict[str, Any]:
    """Train and wait: what DEEPaaS's command line does, and a server without ``deepaas_pool``."""
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
    """The data set: a name under the service's folder, or the upload, moved into ``folder``."""
    if given.get("dataset"):
        assert service.data_dir  # noqa: S101  the name was found there
        return service.data_dir / str(given["dataset"])
    data = given["data"]
    files = getattr(data, "files", None)
    if files is None:  # of DEEPaaS's command line
        path = Path(data.filename)
    elif len(files) == 1:
        path = files[0].path
    else:
        raise InputError(Code.BAD_SETTING, f"{len(files)} files; send one archive of them")
    with path.open("rb") as stream:
        head = stream.read(512)
    # a table names paths to be opened: from a client only what carries its own bytes is taken
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
            stdin=subprocess.PIPE,  # held open: its end tells the child that we are gone
            stdout=log, stderr=subprocess.STDOUT, cwd=folder.parent, env=dict(environ),
            start_new_session=True,
        )  # fmt: skip


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return (lines or ["the training wrote nothing"])[-1][:1000].removeprefix("pi10: ")
