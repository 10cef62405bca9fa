"""``python -m pi10_classifier.oscar``: the program that ``script.sh`` starts for each event.

``batch.sh`` starts it with the argument ``range`` for a range of a batch.

Exit codes (OSCAR ignores them): 0 the record is written, or the object is not an input;
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
from pi10_classifier.foundation.blas import keep_blas_single
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.naming import ObjectVersion, skip_reason

if TYPE_CHECKING:
    from pi10_classifier.oscar.records.handler import Done

BODY = "body"


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Handle the event in the environment, and write to stderr what was done."""
    out = environ.get("TMP_OUTPUT_DIR")
    if not out:
        return _stop(
            "TMP_OUTPUT_DIR is not set; faas-supervisor sets it: let OSCAR start this program"
        )
    event = Event.from_environ(environ)
    input_path = environ.get("INPUT_FILE_PATH")
    if event:
        reason = skip_reason(event.key)
        if reason:
            print(f"pi10: skipped {event.key!r}: {reason}", file=sys.stderr)
            return 0
        version = ObjectVersion(event.bucket, event.key, event.etag, event.size)
    elif input_path:
        # a synchronous call: it has a body and no object
        version = ObjectVersion("", BODY, "", -1)
    else:
        return _stop(
            "there is no input, because neither STORAGE_OBJECT_KEY nor INPUT_FILE_PATH is set; "
            "let OSCAR start this program"
        )
    try:
        path = Path(input_path) if input_path else None
        return _handle(event, version, path, Path(out), environ)
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
    keep_blas_single()
    # imported late: skipped objects do not need these modules
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.oscar.reconcile.attempt_marker import Marker, is_late
    from pi10_classifier.oscar.records.handler import Handler
    from pi10_classifier.oscar.records.settings import ServiceSettings
    from pi10_classifier.oscar.records.supervisor_storage import output_of

    handler = Handler(ServiceSettings.from_environ(environ))
    if event is None:  # a synchronous call: its record does not go to a bucket
        with stoppable() as raise_if_cancelled:
            done = handler.handle(path, version, out, raise_if_cancelled)
            raise_if_cancelled()
        return _log(version, done)
    late = is_late(event, datetime.now(UTC))
    with (
        stoppable() as raise_if_cancelled,
        Marker(lambda: output_of(environ), version, handler.identity, event.attempt,
               at_once=late) as marker,
    ):  # fmt: skip
        done = handler.handle(path, version, out, raise_if_cancelled)
        raise_if_cancelled()
    left = marker.settle(done, out)
    return _log(version, done, left=left)


def _log(version: ObjectVersion, done: Done, *, left: bool = True) -> int:
    state = f"failure {done.failure['code']}" if done.failure else "result"
    where = f"in {done.names[-1]!r}" if left else "not recorded: there is a result by now"
    print(f"pi10: {version.key!r}: {state} {where}", file=sys.stderr)
    return 0


def _stop(message: str) -> int:
    print(f"pi10: {message}", file=sys.stderr)
    return ExitCode.USAGE


def run(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Handle an event, or with the argument ``range`` a range of a batch."""
    if list(arguments) == ["range"]:
        from pi10_classifier.oscar.batch.worker import main as do_range

        return do_range()
    if arguments:
        return _stop(f"unknown argument {arguments[0]!r}; give none, or: range")
    return main()


if __name__ == "__main__":
    sys.exit(run())
