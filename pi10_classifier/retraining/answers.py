"""Answers each delivery once: what was taken of it, what was not, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path

import pi10_classifier
from pi10_classifier.errors import Code, InputError, output_error
from pi10_classifier.oscar.bucket import Bucket, Listed
from pi10_classifier.oscar.records.naming import ObjectVersion, readable, skip_reason, stem_of
from pi10_classifier.oscar.records.record import address, json_bytes
from pi10_classifier.retraining.delivery import Delivery, read_delivery, shown

FOLDER = "answers/"
FORMAT = 1


class Deliveries:
    """The deliveries of the input folder; each object is read once, as long as it is unchanged."""

    def __init__(
        self,
        source: Bucket,
        out: Bucket,
        work: Path,
        classes: Sequence[str],
        most_bytes: float,
        emit: Callable[[str], None],
    ) -> None:
        self._source, self._out, self._work = source, out, work
        self._classes, self._most_bytes, self._emit = tuple(classes), most_bytes, emit
        self._known: dict[ObjectVersion, Delivery] = {}
        # what is taken depends on the classes, so other classes give other answers
        self._scheme = hashlib.sha256("\0".join(self._classes).encode()).hexdigest()

    def listed(self) -> list[Listed]:
        """The objects that are deliveries, in the order in which they came."""
        found = [entry for entry in self._source.inputs() if not skip_reason(entry.version.key)]
        return sorted(found, key=lambda entry: (entry.modified, entry.version.key))

    def unanswered(self) -> list[Listed]:
        """Those without an answer."""
        there = {entry.name for entry in self._out.outputs(FOLDER)}
        return [entry for entry in self.listed() if self.name_of(entry.version) not in there]

    def name_of(self, version: ObjectVersion) -> str:
        """The name of a delivery's answer in the output folder."""
        return f"{FOLDER}{stem_of(version.key)}.{version.digest(self._scheme)}.json"

    def answer(self, raise_if_cancelled: Callable[[], None]) -> int:
        """Answer what has no answer yet; returns how many.

        Objects that are gone by now, or that the storage does not give, stay unanswered.
        """
        count = 0
        for entry in self.unanswered():
            raise_if_cancelled()
            delivery = self._read(entry)
            if delivery is None or (delivery.refused and delivery.refused.code.retryable):
                continue
            version = entry.version
            fields = {
                "format_version": FORMAT,
                "bucket": version.bucket,
                "key": readable(version.key),
                "url": address(version),
                "etag": version.etag,
                "bytes": version.size,
                "program": f"pi10-classifier {pi10_classifier.__version__}",
                **delivery.to_dict(),
            }
            self._out.put(self.name_of(version), json_bytes(fields))
            told = f"refused: {delivery.refused.message}" if delivery.refused else "accepted"
            self._emit(f"{shown(version.key)}: {told[:300]}")
            count += 1
        return count

    def accepted(self, raise_if_cancelled: Callable[[], None]) -> Iterator[Delivery]:
        """Every delivery that is not refused, in the order in which they came."""
        for entry in self.listed():
            raise_if_cancelled()
            delivery = self._read(entry)
            if delivery is not None and delivery.refused is None:
                yield delivery

    def _read(self, entry: Listed) -> Delivery | None:
        version = entry.version
        if version in self._known:
            return self._known[version]
        if version.size > self._most_bytes:
            delivery = Delivery(version.key)
            delivery.refused = InputError(
                Code.TOO_LARGE,
                f"{version.size:,} bytes; the limit is {self._most_bytes:,.0f} "
                "(PI10_RETRAIN_GIB); deliver it in parts",
            )
        else:
            read = self._downloaded(entry)
            if read is None:
                return None
            delivery = read
        self._known[version] = delivery
        return delivery

    def _downloaded(self, entry: Listed) -> Delivery | None:
        version = entry.version
        path = self._work / "delivery"
        try:
            self._source.download(version.key[len(self._source.place.prefix) :], path)
        except InputError as error:
            self._emit(f"{shown(version.key)}: {error.message}")
            return None
        # in/ANNA/labels.zip: the folder names who labelled
        folder = version.key[len(self._source.place.prefix) :].rpartition("/")[0]
        time = f"{entry.modified.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        try:
            return read_delivery(
                path, version.key, self._classes, self._work / "pictures",
                labeller=folder.partition("/")[0], time=time,
            )  # fmt: skip
        except OSError as error:
            raise output_error(error, self._work) from error
        finally:
            path.unlink(missing_ok=True)
