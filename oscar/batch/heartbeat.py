"""A worker's heartbeat file, because OSCAR does not report the progress of a job."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pi10_classifier.errors import OutputError, SettingError
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.oscar.records.record import json_bytes

BEAT_S = 15.0


class Heartbeat:
    """Writes a small status file every few seconds, and once more at the end."""

    def __init__(self, path: Path, every_s: float) -> None:
        self._path, self._every_s = path, every_s
        self._status: dict[str, Any] = {"beat": 0, "units": 0, "done": 0, "inputs": 0}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="signs", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    def update(self, **fields: Any) -> None:
        with self._lock:
            self._status |= fields

    def done(self) -> None:
        """Count one more published unit."""
        with self._lock:
            self._status["done"] += 1

    def _beat(self) -> None:
        while True:
            self._write()
            if self._ended.wait(self._every_s):
                return

    def _write(self) -> None:
        with self._lock:
            self._status["beat"] += 1
            data = json_bytes(self._status)
        # a lost heartbeat does no harm: the next one follows
        with suppress(OSError, OutputError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path, shared=True, sync=False) as temporary:
                temporary.write_bytes(data)


def beat_seconds(text: str | None) -> float:
    """The value of ``PI10_BATCH_BEAT_S``, or the default. Raises SettingError."""
    if not text:
        return BEAT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise SettingError(
            f"PI10_BATCH_BEAT_S is {text!r}; give seconds, more than 0 and at most 3600"
        )
    return seconds
