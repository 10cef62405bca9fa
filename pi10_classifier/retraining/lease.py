"""One round at a time, on any S3 server: a job works only while no other job's marker is there.

Not all servers have conditional writes, but all list what was written before. So each job writes a
marker and then lists the markers. Of two jobs one wrote later, and its list shows the marker of the
other: so never both lead. A job that sees another's marker takes its own away, waits for a random
time and tries again a few times, since both may have done so. After that it leaves the work to the
leader, which lists the deliveries once more when its marker is gone: so a delivery whose job met
the marker is never forgotten.
"""

from __future__ import annotations

import random
import secrets
import sys
import threading
import time
from datetime import datetime, timedelta

from pi10_classifier.errors import Pi10Error
from pi10_classifier.oscar.bucket import Bucket

FOLDER = ".pi10/rounds/"
EVERY_S = 15.0
LOST_AFTER_S = 90.0
_TRIES = 5
_WAIT_S = (0.1, 1.0)


class Lease:
    """A context manager; ``leads`` says whether this job may work. Raises InputError.

    every_s: seconds between renewals. lost_after_s: seconds after which the marker of a job that
    was killed counts no more.
    """

    def __init__(
        self, out: Bucket, *, every_s: float = EVERY_S, lost_after_s: float = LOST_AFTER_S
    ) -> None:
        self._out, self._every_s = out, every_s
        self._lost_after = timedelta(seconds=lost_after_s)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self.leads = False
        self._name = ""

    def __enter__(self) -> Lease:
        for number in range(_TRIES):
            self._name = f"{FOLDER}{secrets.token_hex(16)}"
            self._out.put(self._name, b"")
            if self._others(self._out.now()):
                self._out.delete(self._name)
                if number + 1 < _TRIES:
                    time.sleep(random.uniform(*_WAIT_S))  # noqa: S311  no secret  # nosec B311
                continue
            self.leads = True
            self._thread.start()
            break
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self.leads:
            self._thread.join()
            self._out.delete(self._name)

    def _others(self, now: datetime) -> bool:
        """Whether another job's marker is still renewed; those of killed jobs are removed."""
        living = False
        for entry in self._out.outputs(FOLDER):
            if entry.name == self._name:
                continue
            if now - entry.modified < self._lost_after:
                living = True
            else:
                self._out.delete(entry.name)
        return living

    def _beat(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._out.put(self._name, b"")
            except Pi10Error as error:  # the next renewal may succeed
                print(f"pi10: the round's marker was not renewed: {error.message}", file=sys.stderr)
