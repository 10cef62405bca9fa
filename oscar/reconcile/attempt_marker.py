"""Marks an object as being worked on: ``…attempt-N.begun`` in the output folder.

It is there from the beginning of the work to its end, however it ends but by a kill. So a
marker that nobody writes anew is that of an attempt that began and never ended, the only
kind for which `reconcile` sets an object aside.

An event that comes in time costs nothing: its job makes no marker unless it works for
longer than ``EVERY_S``. Jobs of events that waited long, and of submissions by
`reconcile`, make theirs at once: one small object, removed again.
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
LATE_S = 300.0  # an event that waited for so long: `reconcile` may have submitted its object


class Marker:
    """While open, the object is seen to be worked on; the storage's troubles never stop it.

    ``output`` gives the output folder and is called at the first need of it, or None where
    nobody knows of one.
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
        """After the block, before the upload: see to it that no result has a failure beside it.

        A result removes the failure of an object that was set aside meanwhile: after the
        marker, so that who sets aside sees one of the two go. A failure whose object has a
        result by now is removed from the folder ``made``. False where nothing is left to upload.
        """
        if not done.failure:
            if self.made:  # else nobody had the time to set it aside
                name = str(ResultName.of(done.version, self._identity, Ending.FAILURE))
                self._try(lambda out: out.delete(name))
            return True
        found: list[bool] = []
        self._try(lambda out: found.append(_has_result(out, done.version, self._identity)))
        if not any(found):
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

    def _try(self, ask: Callable[[Bucket], None]) -> None:
        try:
            if not self._looked:
                self._looked = True
                self._out = self._output()
            if self._out:
                ask(self._out)
        except Exception as error:  # no trouble with a marker is worth the work itself
            reason = error.message if isinstance(error, Pi10Error) else repr(error)
            print(f"pi10: the attempt marker was not written: {reason}", file=sys.stderr)


def look(out: Bucket, version: ObjectVersion, identity: str) -> Pair:
    """What the output folder holds of one object just now."""
    from pi10_classifier.oscar.bucket import Listed
    from pi10_classifier.oscar.reconcile.pairing import pair_of

    begins = str(ResultName.of(version, identity, ""))
    return pair_of(Listed(version, datetime.now(UTC)), out.outputs(begins), identity)


def _has_result(out: Bucket, version: ObjectVersion, identity: str) -> bool:
    return look(out, version, identity).state == "result"


def is_late(event: Event, now: datetime) -> bool:
    """True where `reconcile` may know of the event's object: its job shows itself at once."""
    if event.attempt:
        return True
    return event.when is not None and (now - event.when).total_seconds() > LATE_S
