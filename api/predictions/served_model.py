"""Which package answers requests that name none: PI10_MODEL, which may follow a registry.

Under `pi10 serve` the parent decides, and tells the folder with each request, so that all workers
change at once. A process without such a parent (`deepaas-run`, `deepaas-cli`) follows by itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pi10_classifier.errors import Pi10Error
from pi10_classifier.registry.reference import is_reference

if TYPE_CHECKING:
    from pi10_classifier.api.settings import Service

LOG = logging.getLogger("pi10.model")
Prepare = Callable[[Path], object]


class Follower:
    """The package of one process; a thread asks the registry and prepares a new one beside it."""

    def __init__(self) -> None:
        self.told: Path | None = None
        self._own: Path | None = None
        self._lock = threading.Lock()

    def folder(self, service: Service, prepare: Prepare = lambda _: None) -> Path:
        """The folder of the package in service. prepare: called with a new one before it serves.

        Raises SettingError, ModelError or RegistryAwayError if there is no package.
        """
        if self.told is not None:
            return self.told
        from pi10_classifier.registry.resolve import find  # late: a worker that is told needs none

        with self._lock:
            if self._own is None:
                self._own = find(service.model)
                if is_reference(service.model) and service.model_poll_s:
                    threading.Thread(
                        target=self._follow, args=(service, prepare), name="pi10-model",
                        daemon=True,
                    ).start()  # fmt: skip
            return self._own

    def _follow(self, service: Service, prepare: Prepare) -> None:
        from pi10_classifier.registry.resolve import resolve

        refused: Path | None = None
        while True:
            time.sleep(service.model_poll_s)
            try:
                new = resolve(service.model)
                if new.folder not in (self._own, refused):
                    refused = new.folder  # until another: loading it again would only cost
                    prepare(new.folder)
                    self._own = new.folder
                    LOG.info("model changed", extra={"model": str(new)})
            except (Pi10Error, OSError) as error:
                LOG.warning("model not asked for", extra={"reason": str(error)})


FOLLOWER = Follower()


def tell(folder: str) -> None:
    """Set the package of this process from now on; "" leaves it as it is."""
    if folder:
        FOLLOWER.told = Path(folder)


def yield_to_requests() -> None:
    """Let this thread, which loads a model, yield to all others, where the system can."""
    if hasattr(os, "setpriority"):
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        except OSError:
            return
