"""Finds new inputs with two threads: one listens to events, one scans for missed ones."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable

from pi10_classifier.errors import Code, InputError, Pi10Error
from pi10_classifier.watch.inputs.base import InputVersion, WatchedInput
from pi10_classifier.watch.queue import InputQueue

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_HEAR_WITHIN_S = 0.5
WITHOUT_EVENTS_S = 10.0
_PAUSE_PER_SCAN = 4  # a pause lasts this many times as long as the scan before it


class InputDiscovery:
    """Two threads that offer inputs to a queue.

    listening, scanning: ``not yet``, ``ok`` or an error message. scans: number of scans that were
    completed. defect: an unexpected error that ended the scans.
    """

    def __init__(self, watched: WatchedInput, waiting: InputQueue, rescan_s: float) -> None:
        self._input, self._waiting, self._rescan_s = watched, waiting, rescan_s
        self._stop, self._scan_now = threading.Event(), threading.Event()
        self._heard = threading.Event()  # events arrive, or will not
        self._threads = [
            threading.Thread(target=self._listen, name="pi10-listen", daemon=True),
            threading.Thread(target=self._scan, name="pi10-scan", daemon=True),
        ]
        self.listening = "not yet"
        self.scanning = "not yet"
        self.scans = 0
        self.defect: Exception | None = None

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop both threads. A thread that waits for the network ends with the process."""
        self._stop.set()
        self._scan_now.set()
        self._heard.set()
        self._waiting.close()
        for thread in self._threads:
            thread.join(2)

    def scan_soon(self) -> None:
        """Shorten the pause before the next scan."""
        self._scan_now.set()

    def _offer(self, candidates: Iterable[InputVersion]) -> None:
        self._waiting.offer(candidates, patient=False)

    def _connected(self) -> None:
        self.listening = "ok"
        self.scan_soon()  # for inputs that came while nothing listened
        self._heard.set()

    def _listen(self) -> None:
        wait = _FIRST_WAIT_S
        while not self._stop.is_set():
            since = time.monotonic()
            try:
                self._input.listen(self._offer, self._connected, self._stop)
            except (Pi10Error, OSError) as error:
                self.listening = str(error)
                if isinstance(error, InputError) and error.code is Code.OBJECT_UNREADABLE:
                    self._rescan_s = min(self._rescan_s, WITHOUT_EVENTS_S)
                    self.scan_soon()
                    return
            except Exception as error:  # a bug: scans still find everything
                self.listening = f"{type(error).__name__}: {error}; please report"
            finally:
                self._heard.set()
            if time.monotonic() - since > _LONGEST_WAIT_S:
                wait = _FIRST_WAIT_S
            self._stop.wait(wait * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _scan(self) -> None:
        wait = _FIRST_WAIT_S
        # a scan that begins before events arrive would have to be repeated
        self._heard.wait(_HEAR_WITHIN_S)
        while not self._stop.is_set():
            self._scan_now.clear()
            self._waiting.overflowed = False
            since = time.monotonic()
            try:
                seen_names = self._waiting.start_scan()
                if self._waiting.offer(seen_names.record(self._input.scan()), patient=True):
                    self._waiting.finish_scan(seen_names)
            except (Pi10Error, OSError) as error:
                self.scanning = str(error)
                pause = wait * random.uniform(0.5, 1.5)  # noqa: S311  # nosec B311
                self._stop.wait(pause)
                wait = min(2 * wait, _LONGEST_WAIT_S)
                continue
            except Exception as error:  # a bug: the watcher ends, as inputs would be missed
                self.defect = error
                return
            wait = _FIRST_WAIT_S
            self.scanning = "ok"
            self.scans += 1
            if self._waiting.overflowed:
                continue
            took = time.monotonic() - since
            self._stop.wait(min(took * _PAUSE_PER_SCAN, self._rescan_s))
            self._scan_now.wait(max(self._rescan_s - took * _PAUSE_PER_SCAN, 0.0))
