"""``python -m pi10_classifier.oscar``: what ``script.sh`` starts for each event.

``batch.sh`` starts it with the argument ``range``: a range of a batch.

Exit codes (OSCAR ignores them): 0 a record is there, or the object is none to classify;
1 no record could be written; 2 the service's settings or model are unusable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pi10_classifier.errors import ExitCode, OutputError, Pi10Error
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.naming import ObjectVersion, skip_reason

if TYPE_CHECKING:
    from pi10_classifier.oscar.records.handler import Done

BODY = "body"


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Handle the event that the environment tells of; says on stderr what it did."""
    out = environ.get("TMP_OUTPUT_DIR")
    if not out:
        return _stop("TMP_OUTPUT_DIR is not set: faas-supervisor sets it; run it by OSCAR")
    event = Event.from_environ(environ)
    given = environ.get("INPUT_FILE_PATH")
    if event:
        reason = skip_reason(event.key)
        if reason:
            print(f"pi10: skipped {event.key!r}: {reason}", file=sys.stderr)
            return 0
        version = ObjectVersion(event.bucket, event.key, event.etag, event.size)
    elif given:
        # a synchronous call: its body is all there is
        version = ObjectVersion("", BODY, "", -1)
    else:
        return _stop("neither STORAGE_OBJECT_KEY nor INPUT_FILE_PATH is set: there is no input")
    try:
        return _handle(event, version, Path(given) if given else None, Path(out), environ)
    except OutputError as error:
        print(f"pi10: no record of {version.key!r}: {error.message}", file=sys.stderr)
        return 1
    except Pi10Error as error:
        return _stop(error.message)
    except KeyboardInterrupt:
        print(f"pi10: stopped before {version.key!r} had a record", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _handle(
    event: Event | None,
    version: ObjectVersion,
    path: Path | None,
    out: Path,
    environ: Mapping[str, str],
) -> int:
    # imported late: what is skipped needs none of it
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.oscar.reconcile.attempt_marker import Marker, is_late
    from pi10_classifier.oscar.records.handler import Handler
    from pi10_classifier.oscar.records.settings import ServiceSettings
    from pi10_classifier.oscar.records.supervisor_storage import output_of

    handler = Handler(ServiceSettings.from_environ(environ))
    if event is None:  # a synchronous call: nobody looks for its record in a bucket
        with stoppable() as check:
            done = handler.handle(path, version, out, check)
            check()
        return _log(version, done)
    late = is_late(event, datetime.now(UTC))
    with (
        stoppable() as check,
        Marker(lambda: output_of(environ), version, handler.identity, event.attempt,
               at_once=late) as marker,
    ):  # fmt: skip
        done = handler.handle(path, version, out, check)
        check()
    left = marker.settle(done, out)
    return _log(version, done, left=left)


def _log(version: ObjectVersion, done: Done, *, left: bool = True) -> int:
    what = f"failure {done.failure['code']}" if done.failure else "result"
    where = f"in {done.names[-1]!r}" if left else "not recorded: it has a result by now"
    print(f"pi10: {version.key!r}: {what} {where}", file=sys.stderr)
    return 0


def _stop(message: str) -> int:
    print(f"pi10: {message}", file=sys.stderr)
    return ExitCode.USAGE


def run(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """An event, or with the argument ``range`` a range of a batch."""
    if list(arguments) == ["range"]:
        from pi10_classifier.oscar.batch.worker import main as do_range

        return do_range()
    if arguments:
        return _stop(f"unknown argument {arguments[0]!r}; give none, or: range")
    return main()


if __name__ == "__main__":
    sys.exit(run())
