"""Watches ``s3://bucket/prefix`` through MinIO's notifications and listings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import urllib3
from minio.error import MinioException, S3Error
from minio.helpers import check_bucket_name

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.base import Limits, Unit
from pi10_classifier.sources.input_rules import skip_reason
from pi10_classifier.sources.s3 import S3Archive, S3Block, S3Object
from pi10_classifier.sources.s3_client import S3Client
from pi10_classifier.watch.inputs.base import InputVersion, digest

_DEADLINE_S = "10"  # for one request; what fails is queued again, so that other inputs go on
_SILENCE_S = 60.0  # MinIO sends a space every few seconds, so a silent connection is broken
_EVENTS = ("s3:ObjectCreated:*",)
_NO_EVENTS = {"NotImplemented", "MethodNotAllowed", "AccessDenied", "InvalidArgument"}


class BucketPlace:
    """The objects under a prefix. An object is complete when it appears, so none has to settle."""

    settles = False

    def __init__(self, source: str, limits: Limits, environ: Mapping[str, str]) -> None:
        self._bucket, _, self._prefix = source.removeprefix("s3://").partition("/")
        try:
            check_bucket_name(self._bucket)
        except ValueError as error:
            raise SettingError(f"{source!r}: {error}; write s3://bucket/prefix") from error
        self._root = self._prefix[: self._prefix.rfind("/") + 1]
        self._limits = limits
        deadline = environ.get("PI10_S3_DEADLINE") or _DEADLINE_S
        self._environ = {**environ, "PI10_S3_DEADLINE": deadline}
        self._store = S3Client(self._environ)
        self.source = f"s3://{self._bucket}/{self._root}"

    def check(self) -> None:
        try:
            next(self._store.objects(self._bucket, self._prefix), None)
        except InputError as error:
            if error.code is not Code.STORAGE_UNAVAILABLE:
                raise SettingError(error.message) from error
            # the storage may start later than this process, as after a power cut on board

    def scan(self) -> Iterator[InputVersion]:
        for listed in self._store.objects(self._bucket, self._prefix):
            candidate = self._candidate(listed.object_name, listed.size or 0, listed.etag or "")
            if candidate:
                yield candidate

    def _candidate(self, key: str, size: int, etag: str) -> InputVersion | None:
        member = key[len(self._root) :]
        if skip_reason(member):
            return None
        return InputVersion(member, f"{size}-{etag}", S3Object(key, member, size, etag))

    def listen(
        self,
        emit: Callable[[Iterable[InputVersion]], None],
        up: Callable[[], None],
        stop: threading.Event,
    ) -> None:
        # a separate client: its connection stays open and is read line by line
        store = S3Client(self._environ, _LineReader(up, stop))
        try:
            with store.client.listen_bucket_notification(
                bucket_name=self._bucket, prefix=self._prefix, events=_EVENTS
            ) as events:
                for event in events:
                    emit(self._from_event(event))
        except _Stopped:
            return
        except S3Error as error:
            message = f"s3://{self._bucket}: no notifications: {error.code}"
            code = Code.OBJECT_UNREADABLE if error.code in _NO_EVENTS else Code.STORAGE_UNAVAILABLE
            raise InputError(code, message) from error
        except ValueError as error:  # minio raises it for Amazon's S3, which has no such request
            raise InputError(Code.OBJECT_UNREADABLE, f"no notifications: {error}") from error
        except (urllib3.exceptions.HTTPError, MinioException, OSError) as error:
            message = f"s3://{self._bucket}: notifications ended: {type(error).__name__}"
            raise InputError(Code.STORAGE_UNAVAILABLE, message) from error

    def _from_event(self, event: Mapping[str, Any]) -> Iterator[InputVersion]:
        for record in event.get("Records", ()):
            try:
                stored = record["s3"]["object"]
                # in this stream, unlike in webhooks, keys are not URL-encoded
                key, etag = str(stored["key"]), str(stored["eTag"]).strip('"')
                candidate = self._candidate(key, int(stored.get("size", 0)), etag)
            except (LookupError, TypeError, ValueError):
                continue  # the next scan finds it
            if candidate and key.startswith(self._prefix):
                yield candidate

    def look(self, candidate: InputVersion) -> InputVersion | None:
        key = self._object(candidate).key
        try:
            now = self._store.retry(
                f"s3://{self._bucket}/{key}",
                lambda: self._store.client.stat_object(bucket_name=self._bucket, object_name=key),
            )
        except InputError as error:
            if error.code is Code.OBJECT_GONE:
                return None
            raise
        return self._candidate(key, now.size or 0, now.etag or "")

    def block(self, candidates: Sequence[InputVersion]) -> Unit:
        objects = tuple(self._object(candidate) for candidate in candidates)
        return S3Block(self._store, self._bucket, self.source, "", 0, objects, self._limits)

    def archive(self, candidate: InputVersion) -> Unit:
        return S3Archive(self._store, self._bucket, self._object(candidate), self._limits)

    def content(self, candidate: InputVersion, data: bytes | None) -> int | None:
        # size and etag; sidecars of two bins may be equal, and without a time in the version
        # nothing tells a copy from one that was moved: each is its own
        name = "" if kind_of(candidate.name) in (Kind.IMAGE, Kind.OTHER) else candidate.name
        return digest(f"{name}{candidate.version}".encode())

    @staticmethod
    def _object(candidate: InputVersion) -> S3Object:
        if not isinstance(candidate.handle, S3Object):
            raise TypeError(f"{candidate.name} is not an object of a bucket")
        return candidate.handle


class _Stopped(Exception):  # noqa: N818  no error
    """Ends the listening, as the watcher stops."""


class _LineReader(urllib3.PoolManager):
    """Reads the lines of a response as they arrive. up: called once the server has answered.

    minio's own loop reads byte by byte, which takes half a core at hundreds of events a second. It
    also connects again by itself, so that a gap in the events would not be noticed.
    """

    def __init__(self, up: Callable[[], None], stop: threading.Event) -> None:
        super().__init__(timeout=urllib3.Timeout(connect=5.0, read=_SILENCE_S), retries=False)
        self._up, self._stop = up, stop

    def urlopen(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        answer = super().urlopen(method, url, *args, **options)
        if answer.status == 200 and not options.get("preload_content", True):
            self._up()
            if not hasattr(answer, "read1"):
                return answer
            held = bytearray()

            def readline() -> bytes:
                while (end := held.find(b"\n")) < 0:
                    if self._stop.is_set():
                        raise _Stopped
                    data = answer.read1(65_536)
                    if not data:
                        raise ConnectionError("the server ended the notifications")
                    held.extend(data)
                    if held.isspace():
                        held.clear()
                line = bytes(held[: end + 1])
                del held[: end + 1]
                return line

            answer.readline = readline  # type: ignore[method-assign,assignment]
        return answer
