"""Turns one object into one record, and an archive also into its tables.

The handler does not know buckets: it gets a file and the object's name, and writes files to a
folder. Both the job of an event and `reconcile` in place use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pi10_classifier.errors import OutputError
from pi10_classifier.oscar.records.classify_object import Contents
from pi10_classifier.oscar.records.identity import etag_of, model_identity
from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName, stem_of
from pi10_classifier.oscar.records.record import (
    ObjectOutcome,
    publish,
    record_bytes,
    staging,
    write_new,
)
from pi10_classifier.oscar.records.settings import ServiceSettings
from pi10_classifier.sources.base import unreadable


@dataclass(frozen=True, slots=True)
class Done:
    """The files that ``Handler.handle`` wrote, and the failure, if it is one."""

    version: ObjectVersion
    ending: Ending
    names: tuple[str, ...]
    failure: Mapping[str, Any] | None


class Handler:
    """Makes records. The model is loaded once, when an object first needs it."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._etags = settings.etags
        self._contents = Contents(settings)
        self.package = self._contents.package
        self.identity = model_identity(self.package, settings.classify)

    def handle(
        self,
        path: Path | None,
        claimed: ObjectVersion,
        out: Path,
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> Done:
        """Classify the file, and publish its tables and then its record in ``out``.

        ``claimed`` is the object as described by its event; ``raise_if_cancelled`` is called
        between two steps. Raises OutputError if even a failure record cannot be written, and
        ModelError and SettingError before any work.
        """
        outcome: ObjectOutcome | None = None
        try:
            version = self._version(path, claimed)
        except OSError as error:
            problem = unreadable(error)
            version, path = claimed, None
            outcome = ObjectOutcome.failure(problem.code, problem.message)
        with staging(out) as folder:
            if outcome is None:
                outcome = self._contents.outcome(path, version, folder, raise_if_cancelled)
            try:
                return self._publish(outcome, version, folder, out)
            except OutputError as error:
                if not outcome.files:
                    raise
                # no room for the tables: publish the failure alone, which is small
                failed = ObjectOutcome.failure(error.code, error.message)
                for table in outcome.files.values():
                    table.unlink(missing_ok=True)
                return self._publish(failed, version, folder, out)

    def _version(self, path: Path | None, claimed: ObjectVersion) -> ObjectVersion:
        if path is None:
            return claimed
        etag = etag_of(path, claimed.etag, self._etags)
        return replace(claimed, etag=etag, size=path.stat().st_size)

    def _publish(
        self, outcome: ObjectOutcome, version: ObjectVersion, folder: Path, out: Path
    ) -> Done:
        def name(ending: str) -> str:
            return str(ResultName.of(version, self.identity, ending))

        files = [(path, name(ending)) for ending, path in sorted(outcome.files.items())]
        data = record_bytes(outcome, version, self.package, self.identity)
        record = write_new(folder / "record", data)
        if version.bucket and outcome.fields.get("kind") == "request":
            # the marketplace expects its own file name, without folders
            base = version.key.rpartition("/")[2].removesuffix(".json")
            files.append((write_new(folder / "answer", data), f"{stem_of(base)}.json"))
        publish([*files, (record, name(outcome.ending))], out)
        return Done(
            version,
            outcome.ending,
            (*(name(ending) for ending in sorted(outcome.files)), name(outcome.ending)),
            outcome.fields.get("failure"),
        )
