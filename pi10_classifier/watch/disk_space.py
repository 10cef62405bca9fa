"""Waits until the output disk has room or answers again."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from pi10_classifier.errors import Code, OutputError

WAIT_S = 5.0
_LOOK_S = 0.2
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ETIMEDOUT}
_IO_ERROR = 10  # SQLite's; a quota that is used up reads so
_Result = TypeVar("_Result")


def passes(error: OutputError) -> bool:
    """Whether it is over once there is room, or the disk answers: no wrong option."""
    if error.code is Code.DISK_FULL:
        return True
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF == _IO_ERROR
    return isinstance(cause, OSError) and cause.errno in _PASSING


def patiently(
    step: Callable[[], _Result], check: Callable[[], None], tell: Callable[[OutputError], None]
) -> _Result:
    """Do a step that may be done again, until the disk takes it.

    ``tell`` is called with each refusal. Raises the OutputError that no wait mends, or that
    was waited for when ``check`` raised KeyboardInterrupt.
    """
    while True:
        try:
            return step()
        except OutputError as error:
            if not passes(error):
                raise
            until = time.monotonic() + WAIT_S
            tell(error)
            while time.monotonic() < until:
                try:
                    check()
                except KeyboardInterrupt:
                    raise error from error.__cause__
                time.sleep(_LOOK_S)
