"""DEEPaaS's view of the model, with workers that do not hang and uploads that are removed."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from deepaas.model.v2.wrapper import ModelWrapper

from pi10_classifier.api.account import CURRENT, Account
from pi10_classifier.api.answers import JSON
from pi10_classifier.api.uploads import Received, Spooled
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
        folder = Path(tempfile.mkdtemp(prefix="request-", dir=self._folder))
        try:
            size = 0
            for name, value in kwargs.items():
                if isinstance(value, Received):
                    kwargs[name] = spooled = await self._spool(value, folder)
                    size += sum(upload.path.stat().st_size for upload in spooled.files)
            answer = await self._in_worker(self.model_obj.predict, kwargs, size > BULK_BYTES)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        output = answer.output
        if isinstance(output, dict) and kwargs.get("accept") not in (JSON, "*/*", None):
            # what has no result has no table either: it says why, as JSON
            raise web.HTTPUnprocessableEntity(text=json.dumps(output), content_type=JSON)
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

    @staticmethod
    async def _spool(received: Received, folder: Path) -> Spooled:
        """Copy an upload to where a worker can read it; large ones beside the loop."""
        size = sum(file.file.seek(0, os.SEEK_END) for file in received.files)
        if size > BULK_BYTES:
            return await asyncio.to_thread(received.spool, folder)
        return received.spool(folder)
