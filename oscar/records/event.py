"""Reads and writes storage events in the forms of MinIO, OSCAR and faas-supervisor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_plus

from pi10_classifier.oscar.records.naming import MAX_ATTEMPTS

OURS = "pi10"  # the key that we add to an event's record
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)  # the time in our own events, which stands for none


@dataclass(frozen=True, slots=True)
class Event:
    """The object that an event is about. ``key`` is decoded, and without the bucket.

    attempt: the number of a submission by `reconcile`; 0 for an event of the storage.
    when: the time of the event, if it has one.
    """

    bucket: str
    key: str
    etag: str = ""
    size: int = -1
    attempt: int = 0
    when: datetime | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str) -> Event | None:
        """Read an event's JSON, plain or wrapped for another storage; None if it is not one."""
        try:
            payload: Any = json.loads(text)
            while "event" in payload:
                inner = payload["event"]
                payload = json.loads(inner) if isinstance(inner, str) else inner
            record = payload["Records"][0]
            s3 = record["s3"]
            stored = s3["object"]
            return cls(
                bucket=str(s3["bucket"]["name"]),
                key=unquote_plus(str(stored["key"])),
                etag=str(stored.get("eTag", "")).strip('"'),
                size=int(stored.get("size", -1)),
                attempt=_attempt(record.get(OURS)),
                when=_time(record.get("eventTime")),
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Event | None:
        """The event of this job; ``STORAGE_OBJECT_KEY`` names its object.

        None for a synchronous call, which has a body and no object.
        """
        payload = cls.parse(environ.get("EVENT", ""))
        key = environ.get("STORAGE_OBJECT_KEY") or (payload.key if payload else "")
        if not key:
            return None
        if payload and payload.key == key:
            return payload
        return cls(payload.bucket if payload else "", key)

    def to_json(self) -> str:
        r"""An event like one of MinIO, to submit an object again.

        OSCAR passes it through ``echo``, which changes ``\\`` and double spaces. So it contains
        neither, even if the key has backslashes.
        """
        name = quote(self.key, safe="")
        stored: dict[str, Any] = {"key": name, "eTag": self.etag}
        if self.size >= 0:
            stored["size"] = self.size
        record = {
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": f"{_NO_TIME:%Y-%m-%dT%H:%M:%SZ}",
            "eventName": "s3:ObjectCreated:Put",
            **({OURS: {"attempt": self.attempt}} if self.attempt else {}),
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "Config",
                "bucket": {"name": self.bucket, "arn": f"arn:aws:s3:::{self.bucket}"},
                "object": stored,
            },
        }
        payload = {
            "EventName": "s3:ObjectCreated:Put",
            "Key": f"{self.bucket}/{name}",
            "Records": [record],
        }
        return json.dumps(payload, separators=(",", ":"))


def _attempt(payload: Any) -> int:
    number = payload.get("attempt") if isinstance(payload, dict) else 0
    return number if isinstance(number, int) and 0 < number <= MAX_ATTEMPTS else 0


def _time(payload: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(str(payload))
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when if when.year > _NO_TIME.year else None
