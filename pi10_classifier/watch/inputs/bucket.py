"""Watches ``s3://bucket/prefix`` through MinIO's notifications and listings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import urllib3
from minio.error import MinioException, S3Error
from minio.helpers import check_bucket_name

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.sources.base import Limits, Unit
from pi10_classifier.sources.input_rules import skip_reason
from pi10_classifier.sources.s3 import S3Archive, S3Block, S3Object
from pi10_classifier.sources.s3_client import S3Client
from pi10_classifier.watch.inputs.base import InputVersion, digest

_DEADLINE_S = "10"  # of one request: what fails is done later, and meanwhile nothing waits
_SILENCE_S = 60.0  # MinIO sends a space now and then; a link that says nothing is dead
_EVENTS = ("s3:ObjectCreated:*",)
_NO_EVENTS = {"NotImplemented", "MethodNotAllowed", "AccessDenied", "InvalidArgument"}


class BucketPlace:
    """Objects under a prefix. An object appears whole, so nothing has to settle."""

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
            # it may come up later than we do, aboard after a power cut

    def scan(self) -> Iterator[InputVersion]:
        for listed in self._store.objects(self._bucket, self._prefix):
            found = self._found(listed.object_name, listed.size or 0, listed.etag or "")
            if found:
                yield found

    def _found(self, key: str, size: int, etag: str) -> InputVersion | None:
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
        # a client of its own: its connection stays open, and is read by lines as they come
        store = S3Client(self._environ, _Lines(up, stop))
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
        except ValueError as error:  # Amazon's S3 has no such request
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
                found = self._found(key, int(stored.get("size", 0)), etag)
            except (LookupError, TypeError, ValueError):
                continue  # the next scan finds it
            if found and key.startswith(self._prefix):
                yield found

    def look(self, found: InputVersion) -> InputVersion | None:
        key = self._object(found).key
        try:
            now = self._store.retry(
                f"s3://{self._bucket}/{key}",
                lambda: self._store.client.stat_object(bucket_name=self._bucket, object_name=key),
            )
        except InputError as error:
            if error.code is Code.OBJECT_GONE:
                return None
            raise
        return self._found(key, now.size or 0, now.etag or "")

    def block(self, found: Sequence[InputVersion]) -> Unit:
        objects = tuple(self._object(one) for one in found)
        return S3Block(self._store, self._bucket, self.source, "", 0, objects, self._limits)

    def archive(self, found: InputVersion) -> Unit:
        return S3Archive(self._store, self._bucket, self._object(found), self._limits)

    def content(self, found: InputVersion, data: bytes | None) -> int | None:
        return digest(found.version.encode())  # size and etag

    @staticmethod
    def _object(found: InputVersion) -> S3Object:
        if not isinstance(found.handle, S3Object):
            raise TypeError(f"{found.name} is of another place")
        return found.handle


class _Stopped(Exception):  # noqa: N818  no error
    """The watcher ends."""


class _Lines(urllib3.PoolManager):
    """Answers whose lines are read as they arrive.

    minio's own loop reads byte by byte, which at hundreds of events a second takes half a
    core, and asks again by itself where the server has gone, so that a gap would not be seen.
    """

    def __init__(self, up: Callable[[], None], stop: threading.Event) -> None:
        super().__init__(timeout=urllib3.Timeout(connect=5.0, read=_SILENCE_S), retries=False)
        self._up, self._stop = up, stop

    def urlopen(self, method: str, url: str, *words: Any, **named: Any) -> Any:
        answer = super().urlopen(method, url, *words, **named)
        if answer.status == 200 and not named.get("preload_content", True):
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
