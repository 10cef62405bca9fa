"""Finds and reads the objects of ``s3://bucket/prefix`` as units of work."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

from minio.helpers import check_bucket_name

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.decode import looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of, split_member
from pi10_classifier.sources.archives import archive_items, is_archive
from pi10_classifier.sources.base import READ_BUFFER, Item, Limits, Unit, too_large
from pi10_classifier.sources.input_rules import SkippedPaths, is_skipped_folder, skip_reason
from pi10_classifier.sources.s3_client import FETCHERS, ObjectStream, S3Client

BLOCK_OBJECTS = 1024


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object, as a listing describes it."""

    key: str
    member: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class S3Archive:
    """A tar or zip archive in a bucket."""

    store: S3Client
    bucket: str
    entry: S3Object
    limits: Limits
    group: str = ""
    block: int | None = None

    @property
    def name(self) -> str:
        return f"s3://{self.bucket}/{self.entry.key}"

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.entry.key,)

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def fingerprint(self) -> str:
        return f"{self.entry.size}-{self.entry.etag}"

    def items(self) -> Iterator[Item]:
        if self.size == 0:
            error = InputError(Code.EMPTY_OBJECT, "0 bytes; upload the archive again")
            yield Item(self.name, "", error=error)
            return
        entry = self.entry
        raw = ObjectStream(self.store, self.bucket, entry.key, entry.size, entry.etag)
        with io.BufferedReader(raw, READ_BUFFER) as stream:
            yield from archive_items(self.name, cast("BinaryIO", stream), self.size, self.limits)


@dataclass(frozen=True, slots=True)
class S3Block:
    """Consecutive loose objects of one folder of a bucket, fetched a few at a time."""

    store: S3Client
    bucket: str
    source: str
    group: str
    block: int
    objects: tuple[S3Object, ...]
    limits: Limits

    @property
    def name(self) -> str:
        return f"{self.group}#{self.block:06d}"

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(entry.key for entry in self.objects)

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.objects)

    @property
    def fingerprint(self) -> str:
        lines = (f"{e.key}\0{e.size}\0{e.etag}\n" for e in self.objects)
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]

    def items(self) -> Iterator[Item]:
        return ordered_map(self._fetch, self.objects, FETCHERS, ahead=2)

    def _fetch(self, entry: S3Object) -> Item:
        if skip_reason(entry.member):
            return Item(self.source, entry.member)
        other = kind_of(entry.member) is Kind.OTHER
        if entry.size > self.limits.member_bytes and not other:
            return Item(self.source, entry.member, error=too_large(entry.size, self.limits))
        try:
            with (
                ObjectStream(self.store, self.bucket, entry.key, entry.size, entry.etag) as raw,
                io.BufferedReader(raw, READ_BUFFER) as stream,
            ):
                if other and not looks_like_image(stream.peek(16)):
                    return Item(self.source, entry.member)
                data = stream.read(self.limits.member_bytes + 1)
        except InputError as problem:
            return Item(self.source, entry.member, error=problem)
        return Item(self.source, entry.member, data)


def discover_s3(
    text: str, limits: Limits, environ: Mapping[str, str], notes: SkippedPaths | None = None
) -> Iterator[Unit]:
    """The units under ``s3://bucket/prefix``; the prefix is used literally, not URL-decoded."""
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise SettingError(f"input {text!r} names no bucket; write s3://bucket/prefix")
    try:
        check_bucket_name(bucket)
    except ValueError as error:
        raise SettingError(f"input {text!r}: {error}") from error
    yield from stored_units(S3Client(environ), bucket, prefix, limits, notes=notes)


def stored_units(
    store: S3Client,
    bucket: str,
    prefix: str,
    limits: Limits,
    skip: Callable[[str], bool] = lambda key: key.endswith("/"),
    notes: SkippedPaths | None = None,
) -> Iterator[S3Archive | S3Block]:
    """The units of a listing, in its order and while it is read.

    skip: the keys to leave out; by default folder markers. notes: collects the hidden and system
    folders, whose objects are skipped.
    """
    skipped = ""
    root = prefix[: prefix.rfind("/") + 1]
    source = f"s3://{bucket}/{root}"
    loose: list[S3Object] = []
    # keys of a folder need not be consecutive: 'a/b/c', 'a/b.tif' interleave with it
    numbers: dict[str, int] = {}
    folder = ""

    def block() -> S3Block:
        # a part of a folder needs another name than the folder and its other parts
        part = f"{prefix[len(root) :]}*" if folder == root != prefix else ""
        group = f"s3://{bucket}/{folder}{part}"
        number = numbers.get(group, 0)
        numbers[group] = number + 1
        return S3Block(store, bucket, source, group, number, tuple(loose), limits)

    for listed in store.objects(bucket, prefix):
        key = listed.object_name
        if skip(key):
            continue
        entry = S3Object(key, key[len(root) :], listed.size or 0, listed.etag or "")
        if above := _skipped_folder(entry.member):
            # a listing has almost all keys of a folder together
            if notes and above != skipped:
                notes.add_folder(f"s3://{bucket}/{root}{above}")
            skipped = above
            continue
        if is_archive(key) and not skip_reason(entry.member):
            yield S3Archive(store, bucket, entry, limits)
            continue
        parent = key[: key.rfind("/") + 1]
        if loose and (parent != folder or len(loose) == BLOCK_OBJECTS):
            yield block()
            loose = []
        folder = parent
        loose.append(entry)
    if loose:
        yield block()


def _skipped_folder(member: str) -> str:
    """The path down to its first hidden or system folder; empty where there is none."""
    parts = split_member(member)[0].replace("\\", "/").split("/")
    for number, part in enumerate(parts, 1):
        if is_skipped_folder(part):
            return "/".join(parts[:number])
    return ""
