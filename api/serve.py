"""`pi10 serve`: DEEPaaS's own application, the page, health and metrics in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

import pi10_classifier
from pi10_classifier.api.server import logs
from pi10_classifier.api.server.admission import AdmissionLimit
from pi10_classifier.api.server.health import Health
from pi10_classifier.api.server.metrics import Metrics
from pi10_classifier.api.server.middleware import admission, observe
from pi10_classifier.api.server.model_change import ModelChange
from pi10_classifier.api.server.workers import Workers
from pi10_classifier.api.settings import Service, variable
from pi10_classifier.api.trainings.jobs import TRAININGS
from pi10_classifier.api.webpage.routes import Page
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.http_service import (
    LARGEST_PORT,
    base_path,
    listen,
    origin,
    stop_on_signals,
)
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.model.package import Package, embedded, read_package
from pi10_classifier.model.runtime import AUTO
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find

LOG = logging.getLogger("pi10.serve")
NAME = "pi10_classifier"


def default_workers() -> int:
    """At least two, so that single images do not wait for a bin; at most four.

    Each worker uses all cores for a bin, so more workers cost memory and bring no speed.
    """
    return min(4, max(2, default_jobs()))


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where and how to listen.

    workers: processes; 0 chooses a number for this machine. grace: seconds that running requests
    get to finish at the end.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    base_path: str = ""
    workers: int = 0
    grace: float = 30.0
    log_level: str = "info"
    device: str = ""  # else that of PI10_DEVICE
    model: str = ""  # else that of PI10_MODEL

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_path", base_path(self.base_path, "/pi10"))
        for name, value, low, high in (
            ("port", self.port, 0, LARGEST_PORT),
            ("workers", self.workers, 0, 64),
            ("grace", self.grace, 0, 3600),
        ):
            if not low <= value <= high:
                raise SettingError(f"--{name} is {value}; it must be {low} to {high}")
        if not self.workers:
            object.__setattr__(self, "workers", default_workers())


def warm_worker(level: str) -> None:
    """Set up a worker process: configure its logs, then load the model."""
    logs.configure(level)
    from pi10_classifier import api

    api.warm()


class _Warm:
    """A picklable call of ``warm_worker``."""

    def __init__(self, level: str) -> None:
        self._level = level

    def __call__(self) -> None:
        warm_worker(self._level)


class Server:
    """All parts of a running service; it builds them, and closes them at the end."""

    def __init__(self, settings: ServeSettings, service: Service, folder: Path) -> None:
        self.settings = settings
        self.service = service
        self.folder = folder
        package, _ = read_package(embedded())  # until the one in service is known, below
        self.workers = Workers(settings.workers, _Warm(settings.log_level), service.max_seconds)
        self.admissions = AdmissionLimit(service.max_waiting, settings.workers)
        self.metrics = Metrics()
        self.health = Health(self.workers, self.admissions, self.metrics, package)
        self.page = Page(self.workers, self.admissions, self.metrics, package, folder, service)
        self.model = ModelChange(service, self.workers, self._show)
        self.metrics.watch(
            "pi10_model_changes", "Models that replaced another since the start.",
            lambda: self.model.changes,
        )  # fmt: skip

    def _show(self, package: Package, named: dict[str, str]) -> None:
        self.health.model(package, **named)
        self.page.model(package)

    async def app(self) -> web.Application:
        """DEEPaaS's application with our middleware and routes added."""
        app = await _deepaas_app(self.settings, self.service, self.workers)
        base = self.settings.base_path
        posts = {f"{base}/v2/models/{NAME}/{verb}/" for verb in ("predict", "train")}
        self.health.add_to(app, base)
        self.page.add_to(app, base)
        app.middlewares[:0] = [
            observe(self.metrics),
            self.page.front_door(base),
            admission(self.admissions, posts),
        ]
        return app

    async def run(self) -> None:
        """Serve until a signal comes; then let running requests finish within the grace period."""
        settings = self.settings
        stop = stop_on_signals()
        self.workers.start()
        self.model.start()
        runner = web.AppRunner(
            await self.app(), access_log=None, handler_cancellation=True,
            shutdown_timeout=1.0, handle_signals=False,
        )  # fmt: skip
        try:
            await runner.setup()
            port = await listen(runner, settings.host, settings.port)
            url = address(settings.host, port, settings.base_path)
            _print(f"pi10 serve: the page is at {address_here(url)} (Ctrl-C ends the service)")
            LOG.info("listening", extra={
                "url": url, "version": pi10_classifier.__version__, "workers": settings.workers,
            })  # fmt: skip
            await stop.wait()
            await self._drain(stop)
        finally:
            TRAININGS.close()
            await self.model.close()
            await self.page.close()
            await runner.cleanup()
            await self.workers.close()

    async def _drain(self, stop: asyncio.Event) -> None:
        """Wait for running requests. Health checks go on; a second signal ends the wait."""
        stop.clear()
        LOG.info(
            "stopping", extra={"inside": self.admissions.inside, "grace_s": self.settings.grace}
        )
        draining = asyncio.ensure_future(self.admissions.drain(self.settings.grace))
        second_signal = asyncio.ensure_future(stop.wait())
        await asyncio.wait({draining, second_signal}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, second_signal):
            task.cancel()
        if self.admissions.inside:
            LOG.warning("stopped amid work", extra={"inside": self.admissions.inside})


def address(host: str, port: int, base: str) -> str:
    """The page's address."""
    return f"{origin(host, port)}{base}/ui/"


def address_here(url: str) -> str:
    """The same address for a browser on this machine: localhost for "all interfaces"."""
    return re.sub(r"^http://(0\.0\.0\.0|\[::\])?:", "http://localhost:", url)


def _print(line: str) -> None:
    """Print a line for the person who started the service. It ignores a closed output."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def _deepaas_app(
    settings: ServeSettings, service: Service, workers: Workers
) -> web.Application:
    """The application that ``deepaas-run`` would start, but with our workers."""
    from deepaas import config
    from deepaas.api import get_app
    from deepaas.model import loading, v2

    from pi10_classifier.api.deepaas.model_wrapper import ServedModel

    options = config.CONF
    config.prepare_logging()
    # DEEPaaS's other settings may come from the environment (OS_DEFAULT__TRAIN_ENDPOINT)
    options([], project="deepaas", default_config_files=[], default_config_dirs=[])
    options.set_override("workers", settings.workers)
    options.set_override("client_max_size", service.upload_bytes)
    options.set_override("warm", False)
    options.set_override("model_name", NAME)
    logs.configure(settings.log_level)
    module = loading.get_model_by_name(NAME, "v2")
    v2.MODELS[NAME] = ServedModel(NAME, module, workers, service.max_seconds)
    v2.MODELS_LOADED = True
    app: web.Application = await get_app(
        enable_doc=options.doc_endpoint,
        enable_train=options.train_endpoint,
        enable_predict=options.predict_endpoint,
        base_path=settings.base_path,
    )
    return app


def serve(settings: ServeSettings) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises SettingError or ModelError before it listens."""
    logs.configure(settings.log_level)
    if settings.device:
        os.environ[variable("device")] = settings.device  # workers and requests read it there
    if settings.model:
        os.environ[variable("model")] = settings.model
    service = Service.from_environ()
    # workers would try again for ever, as they do after a crash
    if service.device not in ("cpu", AUTO):
        Model.load(find(service.model), service.device)
    with tempfile.TemporaryDirectory(prefix="pi10-serve-") as folder:
        # workers write answers and uploads here; the folder is removed at the end
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = folder
        asyncio.run(Server(settings, service, Path(folder)).run())
