"""Follows a registry, and changes the model of all workers at once.

One worker after the other loads the new model beside the old one, and gets no requests meanwhile if
another can take them. When all have it, the next request is the first with the new model: no
request waits for a model, and none after it gets the old one. A request that runs then ends with
the model that it began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pi10_classifier.api.predictions.handler import prepare
from pi10_classifier.api.predictions.served_model import tell
from pi10_classifier.api.server.workers import Workers
from pi10_classifier.api.settings import Service
from pi10_classifier.errors import ModelError, Pi10Error
from pi10_classifier.model.package import Package, read_package
from pi10_classifier.registry.reference import is_reference
from pi10_classifier.registry.resolve import Resolved, find, resolve

LOG = logging.getLogger("pi10.model")


class ModelChange:
    """The model in service. changes: since the start. problem: why the last question failed."""

    def __init__(
        self, service: Service, workers: Workers, show: Callable[[Package, dict[str, str]], None]
    ) -> None:
        """show: called with each package that comes into service, and its name in the registry.

        Raises SettingError, ModelError or RegistryAwayError if there is none to begin with.
        """
        self._service = service
        self._workers = workers
        self._show = show
        self.changes = 0
        self.problem = ""
        self._refused = ""
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        resolved = resolve(service.model, keep=True) if is_reference(service.model) else None
        if resolved and resolved.away:
            self._note(resolved.away)
        folder = str(resolved.folder if resolved else find(service.model))
        self._enter(folder, read_package(Path(folder))[0], resolved)

    @property
    def follows(self) -> bool:
        """Whether the model may change."""
        return is_reference(self._service.model)

    def start(self) -> None:
        """Begin to follow; SIGHUP asks the registry at once."""
        if not self.follows:
            return
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, AttributeError):  # not on Windows
            loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        self._task = loop.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._service.model_poll_s or None):
                    await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                self._refused = ""
            try:
                await self._ask()
            except (Pi10Error, OSError) as error:
                self._note(str(error))
            except Exception as error:  # a defect must not end the following in silence
                self._note(f"{type(error).__name__}: {error}; please report it")

    async def _ask(self) -> None:
        resolved = await asyncio.to_thread(resolve, self._service.model)
        folder = str(resolved.folder)
        if folder == self._refused:  # loading it again would only cost
            return
        self._note(resolved.away)
        if folder == self._workers.model_folder:
            return
        began = time.perf_counter()
        LOG.info("model comes", extra={"model": str(resolved)})
        try:
            package, _ = await asyncio.to_thread(read_package, resolved.folder)
            await self._workers.in_turn(prepare, folder)
        except ModelError:
            self._refused = folder
            raise
        # no await from here on: a worker that became warm now would lack the model
        self._enter(folder, package, resolved)
        self.changes += 1
        seconds = round(time.perf_counter() - began, 3)
        LOG.info("model changed", extra={"model": str(resolved), "seconds": seconds})

    def _enter(self, folder: str, package: Package, resolved: Resolved | None) -> None:
        self._workers.model_folder = folder
        tell(folder)  # for what this process itself tells of the model
        told = {"registered": str(resolved.reference)} if resolved else {}
        if resolved:
            told |= {"registered_version": resolved.version, "since": resolved.since}
        self._show(package, told)

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            LOG.warning("model not asked for", extra={"reason": problem})
        self.problem = problem
