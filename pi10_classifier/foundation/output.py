"""Standard streams that may fail to write without stopping the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_WRITE_ERRORS = (OSError, ValueError)  # a full disk or a closed pipe; a closed stream


class LossyStream:
    """A text stream that drops what it cannot write."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(*_WRITE_ERRORS):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(*_WRITE_ERRORS):
            self._stream.flush()

    def isatty(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except _WRITE_ERRORS:
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lossy_output() -> Iterator[None]:
    """Drop what stdout and stderr cannot write; a context manager and a decorator."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and LossyStream(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def open_standard_streams() -> None:
    """Open closed standard streams on the null device, so that no other file gets their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def flush_or_drop() -> None:
    """Flush both streams, or drop what is left: else Python would end with exit code 120."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if not stream:
            continue
        try:
            stream.flush()
        except _WRITE_ERRORS:
            with suppress(*_WRITE_ERRORS):
                null = os.open(os.devnull, os.O_WRONLY)
                if stream:
                    os.dup2(null, stream.fileno())
                    stream.flush()
                os.close(null)
