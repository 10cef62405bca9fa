"""Marks an object as being worked on: ``…attempt-N.begun`` in the output folder.

The marker exists from the start of the work to its end, and is rewritten regularly. Only a
killed job leaves it. So a marker that is no longer rewritten belongs to an attempt that began
and never ended, and only for such attempts does `reconcile` set an object aside.

The job of a timely event makes no marker unless it works for longer than ``EVERY_S``. The jobs
of late events, and of submissions by `reconcile`, make theirs at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pi10_classifier.errors import Pi10Error
from pi10_classifier.oscar.records.naming import ATTEMPT, BEGUN, Ending, ObjectVersion, ResultName

if TYPE_CHECKING:
    from pi10_classifier.oscar.bucket import Bucket
    from pi10_classifier.oscar.reconcile.pairing import Pair
    from pi10_classifier.oscar.records.event import Event
    from pi10_classifier.oscar.records.handler import Done

EVERY_S = 15.0
LATE_S = 300.0  # after so long, `reconcile` may have submitted the event's object


class Marker:
    """Keeps the marker during the block. Errors of the storage never stop the work.

    ``output`` is called when the output folder is first needed; it returns None if none is known.
    """

    def __init__(
        self,
        output: Callable[[], Bucket | None],
        version: ObjectVersion,
        identity: str,
        attempt: int,
        *,
        at_once: bool,
        every_s: float = EVERY_S,
    ) -> None:
        self._output, self._identity = output, identity
        self._name = str(ResultName.of(version, identity, f"{ATTEMPT}{attempt}{BEGUN}"))
        self._at_once, self._every_s = at_once, every_s
        self._out: Bucket | None = None
        self._looked = self.made = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="marker", daemon=True)

    def __enter__(self) -> Marker:
        if self._at_once:
            self._make()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.made and self._out:
            self._try(lambda out: out.delete(self._name))

    def settle(self, done: Done, made: Path) -> bool:
        """After the block, before the upload: make sure that no object has result and failure.

        A result removes the failure of an object that was set aside meanwhile. It does so after
        the marker is gone, so that `reconcile` notices one of the two changes. A failure whose
        object has a result by now is removed from the folder ``made``. Returns False if nothing
        is left to upload.
        """
        if not done.failure:
            if self.made:  # otherwise there was no time to set it aside
                name = str(ResultName.of(done.version, self._identity, Ending.FAILURE))
                self._try(lambda out: out.delete(name))
            return True
        has_result: list[bool] = []
        self._try(lambda out: has_result.append(_has_result(out, done.version, self._identity)))
        if not any(has_result):
            return True
        for name in done.names:
            (made / name).unlink(missing_ok=True)
        return False

    def _beat(self) -> None:
        while not self._ended.wait(self._every_s):
            self._make()

    def _make(self) -> None:
        def put(out: Bucket) -> None:
            out.put(self._name, b"")
            self.made = True

        self._try(put)

    def _try(self, request: Callable[[Bucket], None]) -> None:
        try:
            if not self._looked:
                self._looked = True
                self._out = self._output()
            if self._out:
                request(self._out)
        except Exception as error:  # an error of the marker must not stop the work
            reason = error.message if isinstance(error, Pi10Error) else repr(error)
            print(f"pi10: the attempt marker was not written: {reason}", file=sys.stderr)


def look(out: Bucket, version: ObjectVersion, identity: str) -> Pair:
    """The current files of one object in the output folder."""
    from pi10_classifier.oscar.bucket import Listed
    from pi10_classifier.oscar.reconcile.pairing import pair_of

    begins = str(ResultName.of(version, identity, ""))
    return pair_of(Listed(version, datetime.now(UTC)), out.outputs(begins), identity)


def _has_result(out: Bucket, version: ObjectVersion, identity: str) -> bool:
    return look(out, version, identity).state == "result"


def is_late(event: Event, now: datetime) -> bool:
    """True if `reconcile` may know the event's object; its job then makes a marker at once."""
    if event.attempt:
        return True
    return event.when is not None and (now - event.when).total_seconds() > LATE_S
