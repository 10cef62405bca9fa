"""DEEPaaS's view of the model, with workers that do not hang and uploads that are removed."""

from __future__ import annotations

import asyncio
import datetime
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from aiohttp import web
from deepaas.model.v2.wrapper import ModelWrapper, UploadedFile

from pi10_classifier.api.account import CURRENT, Account
from pi10_classifier.api.work import Answer, work
from pi10_classifier.api.workers import BULK_BYTES, Workers

class ServedModel(ModelWrapper):  # type: ignore[misc]  # deepaas has no types
    """One model of DEEPaaS's registry. ``seconds`` bounds a prediction."""

    def __init__(
        self, name: str, module: Any, workers: Workers, *, folder: Path, seconds: float
    ) -> None:
        self._own_workers = workers
        self._folder = folder
        self._seconds = seconds
        super().__init__(name, module, None)

    def _init_executor(self) -> Workers:
        return self._own_workers

    async def warm(self) -> None:
        """Nothing: the workers warm themselves, and readiness waits for them."""

    def predict(self, *args: Any, **kwargs: Any) -> asyncio.Task[dict[str, Any]]:
        """Start a prediction; the task gives what DEEPaaS's handler expects of its pool."""
        return asyncio.get_running_loop().create_task(self._predict(kwargs))

    async def _predict(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        account = CURRENT.get()
        if account:
            account.add("receive", account.seconds)
        spooled: list[Path] = []
        try:
            size = 0
            for name, value in kwargs.items():
                if isinstance(value, web.FileField):
                    path, length = await self._spool(value)
                    spooled.append(path)
                    size += length
                    kwargs[name] = UploadedFile(
                        value.name, str(path), value.content_type, value.filename
                    )
            answer = await self._in_worker(self.model_obj.predict, kwargs, size > BULK_BYTES)
        finally:
            for path in spooled:
                path.unlink(missing_ok=True)
        output = answer.output
        if answer.file:
            output = _opened_and_removed(answer.file)
        return {"output": output, "finish_date": str(datetime.datetime.now())}

    async def _in_worker(
        self, function: Callable[..., Any], kwargs: dict[str, Any], bulk: bool
    ) -> Answer:
        account = CURRENT.get() or Account("")
        began = time.perf_counter()
        answer: Answer = await self._own_workers.apply(
            work, account.request_id, function, kwargs, seconds=self._seconds, bulk=bulk
        )
        account.add("worker", time.perf_counter() - began)
        for stage, seconds in answer.stages.items():
            account.add(stage, seconds)
        account.count(answer.totals, answer.failures)
        return answer

    async def _spool(self, field: web.FileField) -> tuple[Path, int]:
        """Copy an upload to where a worker can read it; its own name is never a path here."""
        source: BinaryIO = field.file
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        handle, name = tempfile.mkstemp(prefix="upload-", dir=self._folder)
        copy = functools.partial(_copy, source, handle)
        if size > BULK_BYTES:
            await asyncio.to_thread(copy)
        else:
            copy()
        return Path(name), size


def _copy(source: BinaryIO, handle: int) -> None:
    with os.fdopen(handle, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)


def _opened_and_removed(file: str) -> BinaryIO:
    """The file, open; its name is gone, and so are its bytes once it is closed."""
    stream = Path(file).open("rb")
    Path(file).unlink(missing_ok=True)
    return stream
