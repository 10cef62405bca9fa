"""Connects DEEPaaS's model to the workers of `pi10 serve`, and times each answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from deepaas.model.v2.wrapper import ModelWrapper

from pi10_classifier.api.deepaas.pool import train_apart
from pi10_classifier.api.deepaas.request_parsing import Received
from pi10_classifier.api.deepaas.routes import deliverable
from pi10_classifier.api.request_stats import CURRENT, RequestStats
from pi10_classifier.api.server.task import Answer, work
from pi10_classifier.api.server.workers import BULK_BYTES, Workers


class ServedModel(ModelWrapper):  # type: ignore[misc]  # deepaas has no types
    """One model of DEEPaaS's registry. ``seconds`` is the time limit of a prediction."""

    def __init__(self, name: str, module: Any, workers: Workers, seconds: float) -> None:
        self._own_workers = workers
        self._seconds = seconds
        super().__init__(name, module, None)

    def _init_executor(self) -> Workers:
        return self._own_workers

    async def warm(self) -> None:
        """Do nothing: the workers warm themselves, and readiness waits for them."""

    def predict(self, *args: Any, **kwargs: Any) -> asyncio.Task[dict[str, Any]]:
        """Start a prediction; the task returns what DEEPaaS's handler expects from its pool."""
        return asyncio.get_running_loop().create_task(self._predict(kwargs))

    async def _predict(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        stats = CURRENT.get()
        if stats:
            stats.add("receive", stats.seconds)
        size = sum(value.size for value in kwargs.values() if isinstance(value, Received))
        answer = await self._in_worker(self.model_obj.predict, kwargs, size > BULK_BYTES)
        return _done(deliverable(answer.output))

    def train(self, *args: Any, **kwargs: Any) -> asyncio.Task[dict[str, Any]]:
        """Start a training in its own process; it occupies no worker."""
        return asyncio.get_running_loop().create_task(self._train(kwargs))

    async def _train(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return _done(await train_apart(kwargs))

    async def _in_worker(
        self, function: Callable[..., Any], kwargs: dict[str, Any], bulk: bool
    ) -> Answer:
        stats = CURRENT.get() or RequestStats("")
        began = time.perf_counter()
        answer: Answer = await self._own_workers.apply(
            work, stats.request_id, function, kwargs, seconds=self._seconds, bulk=bulk
        )
        stats.add("worker", time.perf_counter() - began)
        for stage, seconds in answer.stages.items():
            stats.add(stage, seconds)
        stats.count(answer.totals, answer.failures, answer.drift)
        return answer


def _done(output: Any) -> dict[str, Any]:
    # str() omits the microseconds at a whole second, and DEEPaaS expects them
    return {"output": output, "finish_date": f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}"}
