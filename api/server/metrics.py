"""The Prometheus metrics at ``/metrics``, all kept by the parent process.

A worker returns its figures with its answer. So none is lost or counted twice if a worker
dies, and the processes share no files.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from pi10_classifier.api.request_stats import RequestStats
from pi10_classifier.drift.quantities import MIX, QUANTITIES, subject_of
from pi10_classifier.errors import Code
from pi10_classifier.model.package import Package

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "pi10_requests", "Requests answered.", ("method", "route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "pi10_request_seconds", "Seconds from a request's head to its answer.", ("route",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._stage_seconds = Histogram(
            "pi10_stage_seconds",
            "Seconds of each stage of a prediction: receive (its upload), wait (for a worker), "
            "work (in the worker), and what the worker's time went into.",
            ("stage",), buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._images = Counter(
            "pi10_images", "Images by outcome; they add up to the inputs.",
            ("outcome",), registry=self._registry,
        )  # fmt: skip
        self._failures = Counter(
            "pi10_failures", "Images without a result, by failure code.", ("code",),
            registry=self._registry,
        )  # fmt: skip
        self._model = Gauge(
            "pi10_model_info", "The model that answers by default; always 1.",
            ("name", "version", "sha256"), registry=self._registry,
        )  # fmt: skip
        self._bins = Counter(
            "pi10_drift_bins", "Bins that were compared with the model's reference.",
            registry=self._registry,
        )  # fmt: skip
        self._alarms = Counter(
            "pi10_drift_alarms", "Bins in which a quantity differs from the reference.",
            ("subject", "quantity"), registry=self._registry,
        )  # fmt: skip
        self._heights = Gauge(
            "pi10_drift_height",
            "Height of a quantity's chart over its limit in the newest bin; 0 without an alarm, "
            "negative where the quantity is lower than in the reference.",
            ("subject", "quantity"), registry=self._registry,
        )  # fmt: skip
        for name in (*QUANTITIES, MIX):
            self._alarms.labels(subject_of(name), name)
            self._heights.labels(subject_of(name), name)
        # all labels exist from the first scrape on, so that rates can be computed
        for outcome in ("result", "failure", "skipped"):
            self._images.labels(outcome)
        for code in Code:
            self._failures.labels(code.value)

    def model(self, package: Package) -> None:
        self._model.clear()
        self._model.labels(package.name, package.version, package.sha256).set(1)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def request(self, method: str, route: str, status: int, stats: RequestStats) -> None:
        """Count an answered request. ``route`` is the route's pattern, never the request's path."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(stats.seconds)
        self.work(stats)

    def work(self, stats: RequestStats) -> None:
        """Count the images and the stages of ``stats``."""
        for stage, seconds in stats.stages.items():
            self._stage_seconds.labels(stage).observe(seconds)
        totals = stats.totals
        self._images.labels("result").inc(totals["results"])
        self._images.labels("failure").inc(totals["failures"])
        self._images.labels("skipped").inc(totals["skipped"])
        for code, count in stats.failures.items():
            self._failures.labels(code).inc(count)
        for _, heights in sorted(stats.drift.items()):
            self._bins.inc()
            for name in (*QUANTITIES, MIX):
                if name in heights:
                    self._alarms.labels(subject_of(name), name).inc()
                self._heights.labels(subject_of(name), name).set(heights.get(name, 0.0))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
