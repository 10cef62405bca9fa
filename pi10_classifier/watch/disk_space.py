"""Waits until the output disk has room again, or responds again."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from pi10_classifier.errors import Code, OutputError

WAIT_S = 5.0
_POLL_S = 0.2
_TEMPORARY = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ETIMEDOUT}
_IO_ERROR = 10  # SQLite's code, also for a quota that is used up
_Result = TypeVar("_Result")


def is_temporary(error: OutputError) -> bool:
    """True where waiting can help: for room, or for a disk that does not respond."""
    if error.code is Code.DISK_FULL:
        return True
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF == _IO_ERROR
    return isinstance(cause, OSError) and cause.errno in _TEMPORARY


def retry_until_writable(
    step: Callable[[], _Result],
    raise_if_cancelled: Callable[[], None],
    emit: Callable[[OutputError], None],
) -> _Result:
    """Repeat ``step`` until the disk accepts its output; returns its result.

    step: must be safe to repeat. emit: called with each error. Raises OutputError where waiting
    cannot help, and where ``raise_if_cancelled`` raises KeyboardInterrupt during a wait.
    """
    while True:
        try:
            return step()
        except OutputError as error:
            if not is_temporary(error):
                raise
            until = time.monotonic() + WAIT_S
            emit(error)
            while time.monotonic() < until:
                try:
                    raise_if_cancelled()
                except KeyboardInterrupt:
                    raise error from error.__cause__
                time.sleep(_POLL_S)
