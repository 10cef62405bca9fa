"""Isolates inputs that were in work at a crash, and sets them aside after several.

Names are written before work begins, without waiting for the disk: that survives the process,
which is all that an image can kill.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from pi10_classifier.errors import Code, InputError
from pi10_classifier.watch.ledger import Ledger

FILE = "watch.in-work"
DEATHS = 5
_ROOM = 1_000_000


class CrashQuarantine:
    """Keeps the file of names in work, and in the ledger how often each was there at a death."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._path = path
        left = _left(path)
        with ledger.transaction() as db:
            db.executemany(
                "insert into suspects values (?, 1) "
                "on conflict(name) do update set deaths = deaths + 1",
                ((name,) for name in sorted(left)),
            )
        self._deaths: dict[str, int] = dict(ledger.ask("select name, deaths from suspects"))
        self._in_work: Counter[str] = Counter()  # an archive is there once for each chunk
        self._stream: TextIO | None = None
        self._open()

    def __contains__(self, name: str) -> bool:
        return name in self._deaths

    def _open(self) -> None:
        with suppress(OSError):  # a full disk: what is in work is then not known
            self._stream = self._path.open("w", encoding="utf-8")

    def begin(self, names: Sequence[str]) -> None:
        self._in_work.update(names)
        self._note("+", names)

    def end(self, names: Sequence[str]) -> None:
        self._in_work.subtract(names)
        self._in_work = +self._in_work
        self._note("-", names)
        with suppress(OSError):
            if self._stream and self._stream.tell() > _ROOM:
                self._stream.close()
                self._open()
                self._note("+", sorted(self._in_work.elements()))

    def _note(self, sign: str, names: Sequence[str]) -> None:
        with suppress(OSError, ValueError):
            if self._stream:
                self._stream.write(json.dumps([sign, list(names)]) + "\n")
                self._stream.flush()

    def verdict(self, name: str) -> InputError | None:
        """Why ``name`` is not touched again; None where it may be tried."""
        deaths = self._deaths.get(name, 0)
        if deaths < DEATHS:
            return None
        return InputError(
            Code.SET_ASIDE,
            f"the process died {deaths} times while working on it; check the file, then change "
            "its time or upload it again to retry it",
        )

    def clear(self, names: Sequence[str]) -> None:
        """They are done; the ledger forgot them as it entered them."""
        for name in names:
            self._deaths.pop(name, None)

    def close(self) -> None:
        """The process ends in order: nobody is to blame."""
        with suppress(OSError):
            if self._stream:
                self._stream.close()
            self._path.unlink(missing_ok=True)


def _left(path: Path) -> set[str]:
    names: Counter[str] = Counter()
    with suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError, TypeError):  # the last line may be cut
                sign, these = json.loads(line)
                (names.update if sign == "+" else names.subtract)(these)
                names = +names
    return set(+names)
