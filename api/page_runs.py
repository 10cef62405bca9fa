"""The page's runs: an upload, its work and its results, kept for an hour, then removed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

from pi10_classifier.api.page_work import CANCEL, PAGE, PROGRESS, UPLOAD
from pi10_classifier.archives import is_archive, looks_like_archive
from pi10_classifier.errors import Code, InputError

LOG = logging.getLogger("pi10.page")

KEPT_S = 3600.0
KEPT_RUNS = 50
SWEEP_S = 30.0
MAX_FILES = 20_000
_PIECE = 2**18
_UNSOUND = re.compile(r"[^\w.+=@ -]", re.ASCII)


@dataclass(slots=True)
class Run:
    """One upload and what becomes of it. ``state``: waiting, running, done, failed or cancelled."""

    id: str
    folder: Path
    state: str = "waiting"
    bytes: int = 0
    files: int = 0
    error: dict[str, str] | None = None
    touched: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    page: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def status(self) -> dict[str, Any]:
        """What the page asks for again and again."""
        try:
            progress = json.loads((self.folder / PROGRESS).read_text("utf-8"))
        except (OSError, ValueError):
            progress = {}
        if self.state == "waiting" and progress:
            self.state = "running"
        return {
            "id": self.id, "state": self.state, "files": self.files, "bytes": self.bytes,
            "progress": progress, "error": self.error,
        }  # fmt: skip

    def read_page(self) -> dict[str, Any]:
        if self.page is None:
            self.page = json.loads((self.folder / PAGE).read_text("utf-8"))
        return self.page

    def cancel(self) -> None:
        """Ask the work to stop; it looks several times a second."""
        if not self.over:
            (self.folder / CANCEL).touch()
            if self.state == "waiting" and self.task:
                self.task.cancel()
            self.state = "cancelled"


class Runs:
    """All runs at hand, by their unguessable ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, Run] = {}

    def new(self) -> Run:
        self._make_room()
        run = Run(secrets.token_urlsafe(16), self._folder / secrets.token_hex(8))
        (run.folder / UPLOAD).mkdir(parents=True)
        self._runs[run.id] = run
        return run

    def get(self, run_id: str) -> Run:
        run = self._runs.get(run_id)
        if run is None:
            raise web.HTTPNotFound(
                text="there is no such run; results are kept for an hour, upload the files again"
            )
        run.touched = time.monotonic()
        return run

    def drop(self, run: Run) -> None:
        run.cancel()
        self._runs.pop(run.id, None)
        # beside the loop: a large run's files take their time
        asyncio.get_running_loop().run_in_executor(None, _remove, run.folder)

    def _make_room(self) -> None:
        old = sorted((run for run in self._runs.values() if run.over), key=lambda r: r.touched)
        for run in old[: max(0, len(self._runs) + 1 - KEPT_RUNS)]:
            self.drop(run)

    async def sweep(self) -> None:
        """For ever: remove what nobody has asked for in an hour."""
        while True:
            await asyncio.sleep(SWEEP_S)
            least = time.monotonic() - KEPT_S
            for run in [run for run in self._runs.values() if run.over and run.touched < least]:
                self.drop(run)

    def close(self) -> None:
        for run in self._runs.values():
            run.cancel()
            if run.task:
                run.task.cancel()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def receive(request: web.Request, run: Run, max_bytes: int) -> None:
    """Store the files of a form in ``run``: archives as they come, images in one zip.

    Raises HTTPRequestEntityTooLarge, or InputError where there is nothing to classify.
    """
    if not request.content_type.startswith("multipart/"):
        raise InputError(Code.UNSUPPORTED_FORMAT, "send the files as multipart/form-data")
    home = run.folder / UPLOAD
    with ExitStack() as stack:
        images: zipfile.ZipFile | None = None
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or not part.filename:
                continue
            run.files += 1
            if run.files > MAX_FILES:
                raise InputError(
                    Code.TOO_LARGE,
                    f"more than {MAX_FILES:,} files; send them as a tar or zip instead",
                )
            head = await part.read_chunk(_PIECE)
            name = printable_name(part.filename)
            if is_archive(name) or looks_like_archive(head[:512]):
                target: Any = (home / free_name(home, name)).open("wb")
            else:
                if images is None:
                    # 'w' truncates nothing: the folder is new, and archives avoid this name
                    images = stack.enter_context(zipfile.ZipFile(home / "images.zip", "w"))
                target = images.open(zipfile.ZipInfo(name), "w", force_zip64=True)
            with target:
                await _pour(head, part, target.write, run, max_bytes)
    if not run.files:
        raise InputError(Code.EMPTY_OBJECT, "no file came with the form; choose one at least")


async def _pour(
    head: bytes, part: BodyPartReader, write: Callable[[bytes], Any], run: Run, max_bytes: int
) -> None:
    piece = head
    while piece:
        run.bytes += len(piece)
        if run.bytes > max_bytes:
            raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=run.bytes)
        write(piece)
        piece = await part.read_chunk(_PIECE)


def printable_name(given: str) -> str:
    """A client's file name as a member's name: kept for the tables, never used as a path."""
    name = "".join(c if c.isprintable() else "_" for c in given.replace("\\", "/"))
    return name.lstrip("/")[-1000:] or "unnamed"


def free_name(home: Path, given: str) -> str:
    """A plain new name in ``home`` that ends as ``given`` does."""
    stem = _UNSOUND.sub("_", given.rpartition("/")[2]).lstrip(". -")[-80:] or "archive"
    taken = {*os.listdir(home), "images.zip"}
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{number}-{stem}"
    return name
