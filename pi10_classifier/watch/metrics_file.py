"""What a watcher has done, for Prometheus, in a file that node_exporter's textfile collector reads.

A ship's computer has no port open for it, and the file is there while the watcher is not.
Counters begin at 0 with each start, and with each model; Prometheus' ``rate`` allows for that.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi10_classifier.drift.chart import Monitors
from pi10_classifier.drift.quantities import MIX, QUANTITIES, subject_of
from pi10_classifier.drift.reference import Reference
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.model.package import Package

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge

LOG = logging.getLogger("pi10.watch")
_BY_QUANTITY = ("subject", "quantity")


class MetricsFile:
    """The metrics of one watcher, written anew with each minute's line.

    charts: tells the state of the drift's charts after the newest line, as JSON; "" without one.
    Raises SettingError where the file cannot be written at the start.
    """

    def __init__(
        self, path: Path, package: Package, reference: Reference | None, charts: Callable[[], str]
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry
        except ImportError as error:
            raise SettingError(
                f"--metrics-file needs prometheus-client; run: {install_command('watch')}"
            ) from error
        self._path, self._reference, self._charts = path, reference, charts
        self._registry = CollectorRegistry()
        self._fails = False
        self._images = self._counter(
            "pi10_images", "Images by outcome; they add up to the inputs.", "outcome"
        )
        self._labels = self._counter("pi10_images_labelled", "Results by predicted class.", "label")
        self._lines = self._counter("pi10_watch_lines", "Minutes that a line was made of.")
        self._alarms = self._counter(
            "pi10_drift_alarm_minutes",
            "Minutes after which a quantity differed from the reference.", *_BY_QUANTITY,
        )  # fmt: skip
        self._heights = self._gauge(
            "pi10_drift_height",
            "Height of a quantity's chart over its limit; 0 without an alarm, negative where the "
            "quantity is lower than in the reference.", *_BY_QUANTITY,
        )  # fmt: skip
        self._backlog = self._gauge("pi10_watch_backlog", "Inputs that are not done.")
        self._trouble = self._gauge("pi10_watch_trouble", "1 while the work is paused by an error.")
        self._minute = self._gauge(
            "pi10_watch_last_line_timestamp_seconds", "The minute of the newest line."
        )
        model = self._gauge("pi10_model_info", "The model; always 1.", "name", "version", "sha256")
        model.labels(package.name, package.version, package.sha256).set(1)
        # all labels exist from the first scrape on, so that rates can be computed
        for outcome in ("result", "failure", "skipped"):
            self._images.labels(outcome)
        for label in package.classes:
            self._labels.labels(label)
        if reference:
            self._tell_drift({})
        try:
            self._write()
            self._remove_unfinished()
        except OSError as error:
            raise SettingError(
                f"--metrics-file {path} cannot be written: {error.strerror or error}; name a file "
                "in another folder, or get write permission for it"
            ) from error

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        from prometheus_client import Counter

        return Counter(name, about, labels, registry=self._registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        from prometheus_client import Gauge

        return Gauge(name, about, labels, registry=self._registry)

    def tell(self, line: str) -> None:
        """Count a minute's line, and write the file. Raises OutputError of the ledger."""
        fields: Mapping[str, Any] = json.loads(line)
        results: Mapping[str, int] = fields["n"]
        for label, count in results.items():
            self._labels.labels(label).inc(count)
        self._images.labels("result").inc(sum(results.values()))
        self._images.labels("failure").inc(fields["failed"])
        self._images.labels("skipped").inc(fields["skipped"])
        self._lines.inc()
        self._backlog.set(fields["backlog"])
        self._trouble.set("trouble" in fields)
        minute = datetime.strptime(fields["minute"], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
        self._minute.set(minute.timestamp())
        if self._reference:
            # not from the line, which may be short of room for all
            told = self._charts()
            monitors = Monitors(self._reference, json.loads(told) if told else None)
            self._tell_drift(monitors.alarms)
        try:
            self._write()
        except OSError as error:  # figures that fail must not stop the work
            if not self._fails:
                LOG.warning(
                    "--metrics-file %s cannot be written: %s; what is there grows old, the work "
                    "goes on, and each minute tries again", self._path, error.strerror or error,
                )  # fmt: skip
            self._fails = True
        else:
            if self._fails:
                LOG.warning("--metrics-file %s is written again", self._path)
            self._fails = False

    def _remove_unfinished(self) -> None:
        """Remove the library's temporary files of a watcher that was killed amid writing."""
        left = re.compile(re.escape(self._path.name) + r"\.\d+\.\d+")
        with suppress(OSError):  # a folder that cannot be listed can be written to
            for path in self._path.parent.iterdir():
                if left.fullmatch(path.name):
                    path.unlink()

    def _tell_drift(self, heights: Mapping[str, float]) -> None:
        for name in (*QUANTITIES, MIX):
            labels = subject_of(name), name
            self._alarms.labels(*labels).inc(name in heights)
            self._heights.labels(*labels).set(heights.get(name, 0.0))

    def _write(self) -> None:
        from prometheus_client import write_to_textfile

        write_to_textfile(str(self._path), self._registry)
