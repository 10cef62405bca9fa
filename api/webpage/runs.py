"""The page's runs: their uploads and results, kept for an hour."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import BodyPartReader, web

from pi10_classifier.api.client_errors import unstored
from pi10_classifier.api.deepaas.request_parsing import MALFORMED
from pi10_classifier.api.predictions.uploads import Upload, given_name
from pi10_classifier.api.settings import Service
from pi10_classifier.api.webpage.label_worker import JOB
from pi10_classifier.api.webpage.worker import CANCEL, PAGE, PROGRESS, UPLOAD
from pi10_classifier.errors import Code, InputError
from pi10_classifier.labelling.session import Session
from pi10_classifier.sources.base import printable

KEPT_S = 3600.0
KEPT_RUNS = 50
SWEEP_S = 30.0
_PIECE = 2**18
_LONGEST_NAME = 1000


@dataclass(slots=True)
class Job:
    """What is done with a finished run: its sample is drawn, or its densities are corrected."""

    kind: Literal["draw", "correct"]
    state: Literal["working", "done", "failed"] = "working"
    error: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.state != "working"


@dataclass(slots=True)
class PageRun:
    """One upload and its results. ``state``: waiting, running, done, failed or cancelled.

    session: of its sample, if one was drawn. job: the last one.
    """

    id: str
    folder: Path
    state: str = "waiting"
    bytes: int = 0
    uploads: list[Upload] = field(default_factory=list)
    error: dict[str, str] | None = None
    touched: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    page: dict[str, Any] | None = None
    session: Session | None = None
    job: Job | None = None
    dropped: bool = False

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def title(self) -> str:
        many = len(self.uploads)
        return self.uploads[0].name if many == 1 else f"{many:,} files"

    def status(self) -> dict[str, Any]:
        """The run's state and progress, which the page polls."""
        progress = self._progress(PROGRESS)
        if self.state == "waiting" and progress:
            self.state = "running"
        return {
            "id": self.id, "state": self.state, "files": len(self.uploads), "bytes": self.bytes,
            "progress": progress, "error": self.error,
            "drawn": self.session.design.size if self.session else 0, "job": self._job_status(),
        }  # fmt: skip

    def _job_status(self) -> dict[str, Any] | None:
        job = self.job
        if job is None:
            return None
        return {
            "kind": job.kind, "state": job.state, "error": job.error, "result": job.result,
            "progress": {} if job.over else self._progress(JOB),
        }  # fmt: skip

    def _progress(self, name: str) -> dict[str, Any]:
        try:
            fields: dict[str, Any] = json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return fields

    def read_page(self) -> dict[str, Any]:
        if self.page is None:
            self.page = json.loads((self.folder / PAGE).read_text("utf-8"))
        return self.page

    def cancel(self) -> None:
        """Ask the work to stop; it checks several times a second."""
        if self.job and not self.job.over:
            (self.folder / CANCEL).touch()
        if not self.over:
            (self.folder / CANCEL).touch()
            if self.state == "waiting" and self.task:
                self.task.cancel()
            self.state = "cancelled"


class Runs:
    """All current runs, by their random ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, PageRun] = {}

    def new(self) -> PageRun:
        self._make_room()
        run = PageRun(secrets.token_urlsafe(16), self._folder / secrets.token_hex(8))
        (run.folder / UPLOAD).mkdir(parents=True)
        self._runs[run.id] = run
        return run

    def get(self, run_id: str) -> PageRun:
        run = self._runs.get(run_id)
        if run is None:
            raise web.HTTPNotFound(
                text="there is no such run; results are kept for an hour: upload the files again"
            )
        run.touched = time.monotonic()
        return run

    def get_done(self, run_id: str) -> PageRun:
        """As ``get``, of a run that has results."""
        run = self.get(run_id)
        if run.state != "done":
            raise web.HTTPConflict(text=f"the run is {run.state}; it has no results to show")
        return run

    def drop(self, run: PageRun) -> None:
        run.dropped = True
        run.cancel()
        self._runs.pop(run.id, None)
        self.remove_files(run)

    @staticmethod
    def remove_files(run: PageRun) -> None:
        # in a thread: a large run's files take time to remove
        asyncio.get_running_loop().run_in_executor(None, _remove, run.folder)

    def _make_room(self) -> None:
        old = sorted((run for run in self._runs.values() if run.over), key=lambda r: r.touched)
        for run in old[: max(0, len(self._runs) + 1 - KEPT_RUNS)]:
            self.drop(run)

    async def sweep(self) -> None:
        """Remove runs that nobody has asked for in an hour; runs for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            least = time.monotonic() - KEPT_S
            for run in [run for run in self._runs.values() if run.over and run.touched < least]:
                self.drop(run)

    def close(self) -> None:
        for run in self._runs.values():
            run.cancel()
            for task in (run.task, run.job.task if run.job else None):
                if task:
                    task.cancel()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def receive(request: web.Request, run: PageRun, service: Service) -> None:
    """Store the files of a form in ``run``, each with a number as its name.

    Raises HTTPRequestEntityTooLarge, or InputError if there is nothing to classify.
    """
    if not request.content_type.startswith("multipart/"):
        raise InputError(Code.UNSUPPORTED_FORMAT, "send the files as multipart/form-data")
    try:
        await _store(request, run, service)
    except MALFORMED as error:
        message = f"the form cannot be read: {str(error)[:200]}; send it again"
        raise InputError(Code.UNSUPPORTED_FORMAT, message) from error
    except ConnectionError:  # the client left
        raise
    except OSError as error:
        raise unstored(error) from error
    if not run.uploads:
        raise InputError(Code.EMPTY_OBJECT, "the form holds no file; choose at least one")


async def _store(request: web.Request, run: PageRun, service: Service) -> None:
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.filename:
            continue
        if len(run.uploads) == service.max_images:
            raise InputError(
                Code.TOO_LARGE,
                f"more than {service.max_images:,} files; send them in several uploads",
            )
        path = run.folder / UPLOAD / str(len(run.uploads))
        run.uploads.append(Upload(member_name(part_name(part)), path))
        with path.open("xb") as target:
            while piece := await part.read_chunk(_PIECE):
                run.bytes += len(piece)
                if run.bytes > service.upload_bytes:
                    raise web.HTTPRequestEntityTooLarge(
                        max_size=service.upload_bytes, actual_size=run.bytes
                    )
                target.write(piece)


def part_name(part: BodyPartReader) -> str:
    """The file name as the client wrote it."""
    return given_name(part.headers.get("Content-Disposition", ""), part.filename or "")


def member_name(given: str) -> str:
    """A client's path as a name for the tables; it is never used as a path here."""
    name = printable("".join(c if c.isprintable() else "_" for c in given.replace("\\", "/")))
    return name.lstrip("/")[-_LONGEST_NAME:] or "unnamed"
