"""Standard output and error that may fail: no reason to stop work that goes to a disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_FAILS = (OSError, ValueError)  # a full disk, a reader that left; a stream that was closed


class Lossy:
    """A text stream of which it does not matter whether it takes what is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(*_FAILS):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(*_FAILS):
            self._stream.flush()

    def isatty(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except _FAILS:
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lossy_output() -> Iterator[None]:
    """While open, and as a decorator, what cannot be written is dropped."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and Lossy(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def stand_in() -> None:
    """Have something behind the three standard streams, else the next files would be there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def let_go() -> None:
    """Write what is left, or drop it: Python would end with exit code 120 for it."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if not stream:
            continue
        try:
            stream.flush()
        except _FAILS:
            with suppress(*_FAILS):
                null = os.open(os.devnull, os.O_WRONLY)
                if stream:
                    os.dup2(null, stream.fileno())
                    stream.flush()
                os.close(null)
