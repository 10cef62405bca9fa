"""``s3://bucket/prefix`` as a source: its objects as units of work."""

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
from pi10_classifier.sources.base import READ_BUFFER, Item, Limits, Unit
from pi10_classifier.sources.input_rules import Notes, is_left_folder, skip_reason
from pi10_classifier.sources.s3_client import FETCHERS, ObjectStream, Store

BLOCK_OBJECTS = 1024


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as listed."""

    key: str
    member: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """A tar or zip in a bucket."""

    store: Store
    bucket: str
    entry: StoredObject
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
class ObjectBlock:
    """Consecutive loose objects of one folder of a bucket, fetched a few at a time."""

    store: Store
    bucket: str
    source: str
    group: str
    block: int
    objects: tuple[StoredObject, ...]
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

    def _fetch(self, entry: StoredObject) -> Item:
        if skip_reason(entry.member):
            return Item(self.source, entry.member)
        other = kind_of(entry.member) is Kind.OTHER
        if entry.size > self.limits.member_bytes and not other:
            cap = self.limits.member_bytes
            error = InputError(
                Code.TOO_LARGE, f"{entry.size:,} bytes; the cap is {cap:,}; raise it if genuine"
            )
            return Item(self.source, entry.member, error=error)
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
    text: str, limits: Limits, environ: Mapping[str, str], notes: Notes | None = None
) -> Iterator[Unit]:
    """The units under ``s3://bucket/prefix``; the prefix is taken literally, undecoded."""
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise SettingError(f"input {text!r} names no bucket; write s3://bucket/prefix")
    try:
        check_bucket_name(bucket)
    except ValueError as error:
        raise SettingError(f"input {text!r}: {error}") from error
    yield from stored_units(Store(environ), bucket, prefix, limits, notes=notes)


def stored_units(
    store: Store,
    bucket: str,
    prefix: str,
    limits: Limits,
    skip: Callable[[str], bool] = lambda key: key.endswith("/"),
    notes: Notes | None = None,
) -> Iterator[StoredArchive | ObjectBlock]:
    """The units of a listing as it comes, in its order; by default no folder markers.

    notes: told of the hidden and system folders, whose objects are left out.
    """
    left = ""
    root = prefix[: prefix.rfind("/") + 1]
    source = f"s3://{bucket}/{root}"
    loose: list[StoredObject] = []
    # keys of a folder need not be consecutive: 'a/b/c', 'a/b.tif' interleave with it
    numbers: dict[str, int] = {}
    folder = ""

    def block() -> ObjectBlock:
        # a part of a folder must not pass for the folder, nor for another part of it
        part = f"{prefix[len(root) :]}*" if folder == root != prefix else ""
        group = f"s3://{bucket}/{folder}{part}"
        number = numbers.get(group, 0)
        numbers[group] = number + 1
        return ObjectBlock(store, bucket, source, group, number, tuple(loose), limits)

    for listed in store.objects(bucket, prefix):
        key = listed.object_name
        if skip(key):
            continue
        entry = StoredObject(key, key[len(root) :], listed.size or 0, listed.etag or "")
        if above := _left_folder(entry.member):
            # one listing has a folder's keys together, but for few of other folders
            if notes and above != left:
                notes.left(f"s3://{bucket}/{root}{above}")
            left = above
            continue
        if is_archive(key) and not skip_reason(entry.member):
            yield StoredArchive(store, bucket, entry, limits)
            continue
        its_folder = key[: key.rfind("/") + 1]
        if loose and (its_folder != folder or len(loose) == BLOCK_OBJECTS):
            yield block()
            loose = []
        folder = its_folder
        loose.append(entry)
    if loose:
        yield block()


def _left_folder(member: str) -> str:
    """The first hidden or system folder of a path, with what is above it; empty without one."""
    parts = split_member(member)[0].replace("\\", "/").split("/")
    for number, part in enumerate(parts, 1):
        if is_left_folder(part):
            return "/".join(parts[:number])
    return ""
