"""The journal of a sorting: a line of JSON for each answer, on the disk before it is confirmed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.foundation.files import drop_torn_line
from pi10_classifier.labelling.sample import FOLDER

JOURNAL = "sorting.jsonl"
_LONGEST_LINE = 2**26
FORMAT = 1


class SortJournal:
    """The events of a sorting in ``validation/sorting.jsonl``; the first line says of what.

    about: what the sorting is of; a journal of something else is refused. Use it as a context:
    it holds a lock, since two programs that sort the same run would ask the same questions.
    """

    def __init__(self, run: Path, about: Mapping[str, Any]) -> None:
        self.path = run / FOLDER / JOURNAL
        self._run = run
        self._about = {"kind": "sorting", "format": FORMAT, **about}
        self._lock: Any = None

    def __enter__(self) -> SortJournal:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(exist_ok=True)
            lock = FileLock(self.path.with_name(f".{JOURNAL}.lock"))
            lock.acquire(timeout=0)
        except Timeout as error:
            raise SettingError(
                f"another program sorts {self._run} already; go on there, or end it"
            ) from error
        except OSError as error:
            raise output_error(error, self.path, "") from error
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def read(self) -> list[dict[str, Any]]:
        """The events so far; a last line that was cut short is left out. Raises SettingError."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingError(f"{self.path} cannot be read: {error}") from error
        whole = data[: data.rfind(b"\n") + 1]
        try:
            lines = [dict(json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError) as error:
            raise SettingError(
                f"{self.path} is damaged ({error}); the labels given are in labels.csv, so move it"
                " away and start again"
            ) from error
        if lines and lines[0] != self._about:
            raise self._foreign(lines[0])
        return lines[1:]

    def _foreign(self, before: Mapping[str, Any]) -> SettingError:
        changed = sorted(
            key for key in {*before, *self._about} if before.get(key) != self._about.get(key)
        )
        told = "; ".join(
            f"{key} was {str(before.get(key))[:40]}, is {str(self._about.get(key))[:40]}"
            for key in changed
        )
        return SettingError(
            f"the sorting in {self.path} is of something else: {told}. Go on as before, or start"
            " a new one with --again: the labels given stay"
        )

    def add(self, event: Mapping[str, Any]) -> None:
        """Append an event and have it on the disk. Raises OutputError where the disk refuses."""
        try:
            with self.path.open("a+b") as stream:
                drop_torn_line(stream, _LONGEST_LINE)
                lines = [event] if stream.tell() else [self._about, event]
                text = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines)
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise output_error(error, self.path, "") from error

    def set_aside(self) -> Path | None:
        """Keep the journal under another name, to start anew; None where there is none."""
        if not self.path.exists():
            return None
        number = 1
        while (kept := self.path.with_name(f"sorting-{number}.jsonl")).exists():
            number += 1
        self.path.replace(kept)
        return kept
