"""The spool: the events of a training, kept on the local disk until they are sent.

``RUN_FOLDER/tracking-spool/`` holds one folder per run (a parent and its children)::

    NAME-ID/run.json      the identity of the run; written once
    NAME-ID/events.jsonl  one event per line, appended and never changed
    NAME-ID/files/ID/     copies of artifacts that must still be sent
    NAME-ID/sent.json     what MLflow acknowledged: bytes of events.jsonl, and its run id

An event is done if it ends before the offset in ``sent.json``. This module does not import mlflow.
Secrets are replaced before anything is written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.foundation.files import write_atomically

SPOOL = "tracking-spool"
HEADER, EVENTS, SENT, FILES = "run.json", "events.jsonl", "sent.json", "files"
SENDER_LOCK = ".sender.lock"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Header:
    """The identity of a run. ``id`` (32 hex digits) is our own; MLflow's comes later."""

    id: str
    experiment: str
    name: str
    parent: str
    destination: str
    tags: dict[str, str]
    format: int = FORMAT


@dataclass(slots=True)
class Sent:
    """The events of a run that MLflow has acknowledged."""

    offset: int = 0
    run_id: str = ""
    destination: str = ""
    status: str = ""
    refused: list[str] = field(default_factory=list)


class RunSpool:
    """One run's folder in the spool."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            fields = json.loads((path / HEADER).read_text("utf-8"))
            if fields["format"] != FORMAT:
                raise ValueError(f"format {fields['format']!r}, not {FORMAT}")
            self.header = Header(**fields)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingError(
                f"{path / HEADER} is not a run of a tracking spool ({error})"
            ) from error

    @classmethod
    def create(cls, root: Path, header: Header) -> RunSpool:
        """Make the run's folder in the spool ``root``. Raises OutputError."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", header.name)[:60].strip("._") or "run"
        path = root / f"{slug}-{header.id[:8]}"
        try:
            (path / FILES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(error, path) from error
        write_atomically(path / HEADER, _json(asdict(header)) + b"\n")
        return cls(path)

    def append(self, kind: str, **fields: Any) -> None:
        """Add an event with the current time (ms since 1970, UTC). Raises OutputError."""
        line = _json({"kind": kind, "at": round(time.time() * 1000), **fields}) + b"\n"
        path = self.path / EVENTS
        try:
            with path.open("ab") as stream:
                if stream.tell() and not _ends_a_line(path):
                    line = b"\n" + line  # an earlier writer was killed in the middle of a line
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise output_error(error, path) from error

    def store(self, source: Path | bytes, name: str) -> str:
        """Copy a file, a folder or bytes into the spool; return its path within the run.

        The copy is complete before its event is appended: an event never names half a file.
        """
        place = f"{FILES}/{uuid.uuid4().hex}"
        target = self.path / place / name
        try:
            target.parent.mkdir(parents=True)
            if isinstance(source, bytes):
                target.write_bytes(source)
            elif source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)
        except OSError as error:
            shutil.rmtree(target.parent, ignore_errors=True)
            raise output_error(error, target) from error
        return f"{place}/{name}"

    def events(self, offset: int = 0) -> Iterator[tuple[dict[str, Any] | None, int]]:
        """The events after ``offset`` bytes, each with the offset after it.

        None stands for a damaged line. A last line without its end is still being written.
        """
        try:
            stream = (self.path / EVENTS).open("rb")
        except FileNotFoundError:
            return
        with stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                if not line.strip():
                    continue
                event: dict[str, Any] | None
                try:
                    event = dict(json.loads(line))
                    event["kind"], event["at"]
                except (ValueError, TypeError, KeyError):
                    event = None
                yield event, offset

    @property
    def size(self) -> int:
        """Size of the events in bytes."""
        try:
            return (self.path / EVENTS).stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def sent(self) -> Sent:
        """The acknowledged events; none if the record is missing or damaged."""
        try:
            return Sent(**json.loads((self.path / SENT).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return Sent()

    def acknowledge(self, sent: Sent) -> None:
        write_atomically(self.path / SENT, _json(asdict(sent)) + b"\n")

    @property
    def pending(self) -> int:
        """Number of events that MLflow has not acknowledged."""
        return sum(1 for _ in self.events(self.sent.offset))


def runs_of(root: Path) -> list[RunSpool]:
    """The runs of a spool, parents before their children."""
    spools = {
        s.header.id: s for s in map(RunSpool, sorted(p.parent for p in root.glob(f"*/{HEADER}")))
    }
    ordered: dict[str, RunSpool] = {}

    def place(spool: RunSpool, above: frozenset[str]) -> None:
        parent = spools.get(spool.header.parent)
        if parent is not None and parent.header.id not in above:
            place(parent, above | {spool.header.id})
        ordered.setdefault(spool.header.id, spool)

    for spool in spools.values():
        place(spool, frozenset({spool.header.id}))
    return list(ordered.values())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
