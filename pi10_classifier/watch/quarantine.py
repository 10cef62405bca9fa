"""Isolates inputs that were in work at a crash, and sets them aside after several crashes.

Names are written to a file before work begins, without flushing it to the disk. So the file
survives a crash of the process; an image cannot crash more than that.
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
_MOST_BYTES = 1_000_000  # the file is rewritten beyond


class CrashQuarantine:
    """A file with the names in work; the ledger counts how many crashes each was in work at.

    ``name in quarantine`` is true for an input that was in work at a crash and is not done.
    """

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._path = path
        names = _read_names(path)
        with ledger.transaction() as db:
            db.executemany(
                "insert into suspects values (?, 1) "
                "on conflict(name) do update set deaths = deaths + 1",
                ((name,) for name in sorted(names)),
            )
        self._deaths: dict[str, int] = dict(ledger.ask("select name, deaths from suspects"))
        self._in_work: Counter[str] = Counter()  # an archive counts once for each chunk
        self._stream: TextIO | None = None
        self._open()

    def __contains__(self, name: str) -> bool:
        return name in self._deaths

    def _open(self) -> None:
        with suppress(OSError):  # on a full disk, work goes on without the file
            self._stream = self._path.open("w", encoding="utf-8")

    def begin(self, names: Sequence[str]) -> None:
        """Note that work on these inputs begins."""
        self._in_work.update(names)
        self._note("+", names)

    def end(self, names: Sequence[str]) -> None:
        """Note that work on these inputs has ended."""
        self._in_work.subtract(names)
        self._in_work = +self._in_work
        self._note("-", names)
        with suppress(OSError):
            if self._stream and self._stream.tell() > _MOST_BYTES:
                self._stream.close()
                self._open()
                self._note("+", sorted(self._in_work.elements()))

    def _note(self, sign: str, names: Sequence[str]) -> None:
        with suppress(OSError, ValueError):
            if self._stream:
                self._stream.write(json.dumps([sign, list(names)]) + "\n")
                self._stream.flush()

    def verdict(self, name: str) -> InputError | None:
        """The failure of an input that is not tried again; None where it may be tried."""
        deaths = self._deaths.get(name, 0)
        if deaths < DEATHS:
            return None
        return InputError(
            Code.SET_ASIDE,
            f"the process died {deaths} times while working on it; check the file, then change "
            "its time or upload it again to retry it",
        )

    def clear(self, names: Sequence[str]) -> None:
        """Forget inputs that are done; the ledger has already forgotten them."""
        for name in names:
            self._deaths.pop(name, None)

    def close(self) -> None:
        """Remove the file, as the process ends normally."""
        with suppress(OSError):
            if self._stream:
                self._stream.close()
            self._path.unlink(missing_ok=True)


def _read_names(path: Path) -> set[str]:
    names: Counter[str] = Counter()
    with suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError, TypeError):  # the last line may be cut
                sign, changed = json.loads(line)
                (names.update if sign == "+" else names.subtract)(changed)
                names = +names
    return set(+names)
