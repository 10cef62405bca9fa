"""An S3 client for listings and ranged reads that retries each request up to a deadline.

Endpoint and keys come only from the environment: ``AWS_ENDPOINT_URL_S3`` or
``AWS_ENDPOINT_URL`` (without them Amazon's, where ``AWS_REGION`` is set), ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``. ``PI10_S3_DEADLINE`` is the
number of seconds to retry one request (default 60).
"""

from __future__ import annotations

import errno
import io
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError  # only the name of what minio raises  # nosec B405

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.sources.s3_listing import Entry, Page, ask_page, key_bytes

FETCHERS = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_QUIET_S = 1.0  # retries within this time are not logged
_GONE = {"NoSuchKey", "NoSuchVersion", "NoSuchObject"}
_REFUSED = {
    "NoSuchBucket",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidBucketName",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidToken",
}
_TRANSIENT = {"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "OperationAborted"}

T = TypeVar("T")


class S3Client:
    """An S3 client that retries every request, with jitter, up to a deadline.

    remedy: ends the error message of a request that was never answered. log: called once, soon
    after the storage stops answering, with a message for the user.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        http: urllib3.PoolManager | None = None,
        *,
        remedy: str = "run again with --resume",
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._remedy, self._log, self._logged = remedy, log, False
        url = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        if not url and not region:
            # keys alone do not identify the storage, and Amazon may be out of reach
            raise SettingError(
                "AWS_ENDPOINT_URL is not set; set it to the storage's address, such as "
                "http://host:9000, or set AWS_REGION to use Amazon S3"
            )
        try:
            parts = urlsplit(url or "https://s3.amazonaws.com")
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = None
        if not usable or "@" in parts.netloc or parts.path.strip("/"):
            # the value is not shown: it may hold a password
            raise SettingError(
                "AWS_ENDPOINT_URL must look like http://host:9000, without a path or a user; "
                "keys go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        deadline = environ.get("PI10_S3_DEADLINE") or "60"
        try:
            self.deadline_s = float(deadline)
        except ValueError:
            self.deadline_s = math.nan
        if not 0 < self.deadline_s < math.inf:
            raise SettingError(
                f"PI10_S3_DEADLINE is {deadline!r}; give a number of seconds above 0"
            )
        timeout = min(30.0, self.deadline_s)
        try:
            self.client = Minio(
                endpoint=parts.netloc,
                access_key=environ.get("AWS_ACCESS_KEY_ID") or None,
                secret_key=environ.get("AWS_SECRET_ACCESS_KEY") or None,
                session_token=environ.get("AWS_SESSION_TOKEN") or None,
                region=region or "us-east-1",
                secure=parts.scheme == "https",
                http_client=http
                or urllib3.PoolManager(
                    timeout=urllib3.Timeout(connect=min(5.0, timeout), read=timeout),
                    maxsize=FETCHERS + 2,
                    retries=False,  # ``retry`` does it, up to the deadline
                ),
            )
        except (ValueError, TypeError) as error:
            raise SettingError(f"the S3 settings are unusable: {error}") from error

    def retry(self, what: str, request: Callable[[], T]) -> T:
        """Run ``request`` until it succeeds, fails permanently, or the deadline passes.

        what: the request or address, for messages. Raises InputError (object_gone,
        object_unreadable, storage_unavailable), or SettingError where no request can succeed.
        """
        started, wait = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                return request()
            except S3Error as error:
                self._raise_if_permanent(what, error)
                last: Exception = error
            except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError,
                    OSError, ParseError, UnicodeDecodeError) as error:  # fmt: skip
                last = error
            pause = wait * random.uniform(0.5, 1.5)  # noqa: S311  jitter, no secret  # nosec B311
            if not self._logged and time.monotonic() - started > _QUIET_S:
                self._logged = True
                self._log(
                    f"{what}: the storage does not answer yet; retrying for "
                    f"{self.deadline_s:g} s (PI10_S3_DEADLINE): {_brief(last)}"
                )
            if time.monotonic() + pause - started > self.deadline_s:
                raise InputError(
                    Code.STORAGE_UNAVAILABLE,
                    f"{what}: no answer within {self.deadline_s:g} s: "
                    f"{_brief(last)}; {self._remedy}",
                ) from last
            time.sleep(pause)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    def _raise_if_permanent(self, what: str, error: S3Error) -> None:
        if error.code in _GONE:
            raise InputError(Code.OBJECT_GONE, f"{what}: deleted before it was read") from error
        if error.code == "PreconditionFailed":
            raise InputError(
                Code.STORAGE_UNAVAILABLE,
                f"{what}: changed while it was read; {self._remedy}",
            ) from error
        if error.code in _REFUSED:
            raise SettingError(
                f"{what}: the storage answered {error.code}; check the bucket's name, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        status = error.response.status
        if 400 <= status < 500 and status not in (408, 429) and error.code not in _TRANSIENT:
            raise InputError(
                Code.OBJECT_UNREADABLE,
                f"{what}: the storage answered {error.code}; check the permissions and the object",
            ) from error

    def objects(self, bucket: str, prefix: str) -> Iterator[Entry]:
        """List objects in the order of their keys, page by page; continues after an error."""
        for entries in self.pages(bucket, prefix):
            yield from entries

    def pages(self, bucket: str, prefix: str, delimiter: str = "") -> Iterator[list[Entry]]:
        """List objects in pages, each in the order of its keys' bytes; continues after an error.

        delimiter: "/" for one level, with its folders as entries. Raises as ``retry``.
        """
        last = ""
        token: str | None = None

        def next_page() -> Page:
            nonlocal token
            try:
                return ask_page(
                    self.client, bucket, prefix, after=last, token=token, delimiter=delimiter
                )
            except Exception:
                token = None  # it need not outlive a restart of the server, and the key does
                raise

        while True:
            try:
                page = self.retry(f"listing s3://{bucket}/{prefix}", next_page)
            except InputError as error:
                if error.code is Code.OBJECT_UNREADABLE:
                    raise SettingError(error.message) from error
                raise
            entries, token = page
            if delimiter and last:  # a folder lies behind itself: it is listed once more
                seen = key_bytes(last)
                entries = [entry for entry in entries if key_bytes(entry.object_name) > seen]
            if entries:
                last = entries[-1].object_name
                yield entries
            if token is None:
                return


class ObjectStream(io.RawIOBase):
    """One object as a seekable stream; a body that breaks off is resumed by a ranged read."""

    def __init__(self, store: S3Client, bucket: str, key: str, size: int, etag: str) -> None:
        self._store, self._bucket, self._key = store, bucket, key
        self._size, self._etag = size, etag
        self._at = 0
        self._response: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "seek before the beginning")
        if base + offset != self._at:
            self._drop()
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        url = f"s3://{self._bucket}/{self._key}"
        try:
            data = self._store.retry(url, lambda: self._read(wanted))
        except SettingError as error:
            # the listing accepted these keys, so the refusal may be temporary
            raise InputError(Code.STORAGE_UNAVAILABLE, error.message) from error
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, wanted: int) -> bytes:
        try:
            if self._response is None:
                self._response = self._store.client.get_object(
                    bucket_name=self._bucket,
                    object_name=self._key,
                    offset=self._at,
                    request_headers={"If-Match": f'"{self._etag}"'} if self._etag else None,
                )
                if self._at and self._response.status != 206:
                    raise OSError("the storage ignores ranges")
            # not decoded: ranges and sizes count the stored bytes, whatever Content-Encoding is
            data: bytes = self._response.read(wanted, decode_content=False)
            if not data:
                raise OSError(f"body ends at byte {self._at:,} of {self._size:,}")
        except Exception:
            self._drop()
            raise
        return data

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response.release_conn()
            self._response = None

    def close(self) -> None:
        self._drop()
        super().close()


def _brief(error: Exception) -> str:
    """The error without the request's headers, which may hold credentials."""
    if isinstance(error, S3Error):
        return f"{error.code}: {error.message}"
    return f"{type(error).__name__}: {str(error)[:200]}"
