"""The routes ``/health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from pi10_classifier.api.server.admission import AdmissionLimit
from pi10_classifier.api.server.metrics import CONTENT_TYPE, Metrics
from pi10_classifier.api.server.workers import Workers
from pi10_classifier.model.package import Package


class Health:
    """Answers the requests of orchestrators and Prometheus."""

    def __init__(
        self, workers: Workers, admissions: AdmissionLimit, metrics: Metrics, package: Package
    ) -> None:
        self._workers = workers
        self._admissions = admissions
        self._metrics = metrics
        self.model(package)
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "pi10_ready": ("1 if it accepts work.", lambda: not self._why_not()),
            "pi10_workers_ready": ("Warm worker processes.", lambda: workers.ready),
            "pi10_worker_restarts": (
                "Worker processes replaced since the start.", lambda: workers.restarts),
            "pi10_requests_inside": (
                "Predictions and trainings being received, waiting or running.",
                lambda: admissions.inside),
            "pi10_requests_most": ("Limit of pi10_requests_inside.", lambda: admissions.limit),
        }  # fmt: skip
        for name, (about, value) in gauges.items():
            metrics.watch(name, about, value)

    def model(self, package: Package, **more: Any) -> None:
        """Tell another model from now on. more: its name in a registry, and the like."""
        self._model = {
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            **more,
        }
        self._metrics.model(package)

    def _why_not(self) -> str:
        """Why the service is not ready; empty if it is."""
        if self._admissions.draining:
            return "stopping"
        if not self._workers.ready:
            return self._workers.problem or "no worker is warm yet"
        return ""

    async def live(self, request: web.Request) -> web.Response:
        """Answer 200 as long as the event loop runs."""
        return web.json_response({"status": "live"})

    async def ready(self, request: web.Request) -> web.Response:
        """Answer 200 if a worker has verified and warmed the model, else 503 and the reason."""
        reason = self._why_not()
        body = {
            "status": "not ready" if reason else "ready",
            "model": self._model,
            "workers": {"ready": self._workers.ready, "all": self._workers.count},
        }
        if reason:
            body["reason"] = reason
            return web.json_response(body, status=503, headers={"Retry-After": "2"})
        return web.json_response(body)

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    def add_to(self, app: web.Application, base: str) -> None:
        app.router.add_get(f"{base}/health/live", self.live)
        app.router.add_get(f"{base}/health/ready", self.ready)
        app.router.add_get(f"{base}/metrics", self.metrics)
