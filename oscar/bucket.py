"""Lists, reads and writes the objects of a folder in a bucket."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from minio.helpers import check_bucket_name

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.oscar.listing_ahead import ListingAhead
from pi10_classifier.oscar.records.naming import ObjectVersion
from pi10_classifier.sources.s3_client import S3Client

OURS = ".pi10/"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # of objects of storages that list no times


def store_of(
    environ: Mapping[str, str], *, remedy: str, log: Callable[[str], None] = lambda _: None
) -> S3Client:
    """The store that the environment names. ``log`` gets a line when it does not answer.

    Raises SettingError if keys are missing: reconciling and batches write to the store, which
    needs keys. Keys without an address mean Amazon's own S3.
    """
    missing = [
        name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not environ.get(name)
    ]
    if missing and not (environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")):
        missing.insert(0, "AWS_ENDPOINT_URL")
    if missing:
        raise SettingError(
            f"{', '.join(missing)} not set, so the storage is unknown; set your server's address "
            "and keys, or, with `pi10 oscar local up`, run: . pi10-local/environment"
        )
    return S3Client(environ, remedy=remedy, log=log)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A folder of a bucket in a store; every request is retried up to the store's deadline."""

    store: S3Client
    place: BucketFolder

    @classmethod
    def of(cls, store: S3Client, text: str) -> Bucket:
        """From an address ``s3://bucket/folder/``. Raises SettingError if it is not one."""
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if not text.startswith("s3://") or not bucket:
            raise SettingError(f"{text!r} is not an address in a bucket; write s3://bucket/folder/")
        try:
            check_bucket_name(bucket)
        except ValueError as error:
            raise SettingError(f"{text!r}: {error}") from error
        return cls(store, BucketFolder(bucket, key.strip("/")))

    def __str__(self) -> str:
        return f"s3://{self.place.bucket}/{self.place.prefix}"

    def inputs(self) -> Iterator[Listed]:
        """All objects, including folder markers, in the order of their keys."""
        for entry in ListingAhead(self.store, self.place.bucket, self.place.prefix):
            version = ObjectVersion(
                self.place.bucket, entry.object_name, entry.etag or "", entry.size or 0
            )
            yield Listed(version, entry.last_modified or _LONG_AGO)

    def outputs(self, begins: str) -> Iterator[Output]:
        """The objects of this folder whose names begin with ``begins``, in order."""
        skip = len(self.place.prefix)
        for entry in self.store.objects(self.place.bucket, self.place.prefix + begins):
            yield Output(entry.object_name[skip:], entry.last_modified or _LONG_AGO)

    def outputs_ahead(self, begins: str) -> Iterator[Output]:
        """``outputs`` of many objects: several requests at a time."""
        skip = len(self.place.prefix)
        for entry in ListingAhead(self.store, self.place.bucket, self.place.prefix + begins):
            yield Output(entry.object_name[skip:], entry.last_modified or _LONG_AGO)

    def put(self, name: str, data: bytes) -> None:
        """Write one object, whole or not at all. Raises InputError."""
        key = self.place.prefix + name
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        self.store.retry(
            f"s3://{self.place.bucket}/{key}",
            lambda: self.store.client.put_object(
                bucket_name=self.place.bucket,
                object_name=key,
                data=io.BytesIO(data),
                length=len(data),
                content_type=kind,
            ),
        )

    def upload(self, path: Path, name: str) -> None:
        """Write a file as one object, in several parts if it is large. Raises InputError."""
        key = self.place.prefix + name
        self.store.retry(
            f"s3://{self.place.bucket}/{key}",
            lambda: self.store.client.fput_object(
                bucket_name=self.place.bucket, object_name=key, file_path=str(path)
            ),
        )

    def download(self, name: str, path: Path) -> None:
        """Copy one object into a file, whole or not at all. Raises InputError."""
        key = self.place.prefix + name
        self.store.retry(
            f"s3://{self.place.bucket}/{key}",
            lambda: self.store.client.fget_object(
                bucket_name=self.place.bucket, object_name=key, file_path=str(path)
            ),
        )

    def get_if_there(self, name: str, cap: int = 2**26) -> bytes | None:
        """Like ``get``, but None if the object does not exist."""
        try:
            return self.get(name, cap)
        except InputError as error:
            if error.code is Code.OBJECT_GONE:
                return None
            raise

    def etags(self, begins: str) -> dict[str, str]:
        """Name -> etag of the objects whose names begin with ``begins``; all are in memory."""
        skip = len(self.place.prefix)
        entries = self.store.objects(self.place.bucket, self.place.prefix + begins)
        return {entry.object_name[skip:]: entry.etag or "" for entry in entries}

    def get(self, name: str, cap: int = 2**20, offset: int = 0) -> bytes:
        """At most ``cap`` bytes of an object, from byte ``offset`` on. Raises InputError."""
        key = self.place.prefix + name

        def read() -> bytes:
            answer = self.store.client.get_object(
                bucket_name=self.place.bucket, object_name=key, offset=offset
            )
            try:
                data: bytes = answer.read(cap)
                return data
            finally:
                answer.close()
                answer.release_conn()

        return self.store.retry(f"s3://{self.place.bucket}/{key}", read)

    def delete(self, name: str) -> None:
        """Remove one object, which need not exist. Raises InputError."""
        key = self.place.prefix + name
        try:
            self.store.retry(
                f"s3://{self.place.bucket}/{key}",
                lambda: self.store.client.remove_object(
                    bucket_name=self.place.bucket, object_name=key
                ),
            )
        except InputError as error:
            if error.code is not Code.OBJECT_GONE:
                raise

    def now(self) -> datetime:
        """The server's time, which is the time of the objects; our own clock may be wrong."""
        name = f"{OURS}clock"
        self.put(name, b"")
        stat = self.store.retry(
            f"{self}{name}",
            lambda: self.store.client.stat_object(
                bucket_name=self.place.bucket, object_name=self.place.prefix + name
            ),
        )
        if stat.last_modified is None:
            raise SettingError(
                f"{self}: the storage reports no times of change, so it cannot be reconciled; use "
                "another storage"
            )
        return stat.last_modified


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of the input folder, with the server's time of its last change."""

    version: ObjectVersion
    modified: datetime


@dataclass(frozen=True, slots=True)
class Output:
    """An object of the output folder; ``name`` is relative to that folder."""

    name: str
    modified: datetime
