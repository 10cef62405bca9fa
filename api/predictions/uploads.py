"""Turns uploaded files into a unit of the pipeline: archives are streamed, others are images."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import Code, InputError
from pi10_classifier.foundation.files import sha256
from pi10_classifier.imaging.decode import looks_like_image
from pi10_classifier.instrument.formats import NAMES
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import archive_items, is_archive, looks_like_archive
from pi10_classifier.sources.base import Item, Limits, printable
from pi10_classifier.sources.input_rules import normalised_name, skip_reason

MAX_NAME = 1024
CONTRADICTING = InputError(
    Code.BAD_SIDECAR,
    "two different files of this name were sent; send the right one, or each in the folder of its "
    "bin, such as 1450/HitsMisses.txt",
)
_FILENAME = re.compile(r'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file: the name the client gave it, and where its bytes are."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Spooled:
    """The files of one request on disk. ``folder`` is removed with the request."""

    folder: Path
    files: tuple[Upload, ...]


@dataclass(frozen=True, slots=True)
class UploadedFiles:
    """All files of a request as one unit: archives are streamed, each other file is an image."""

    files: tuple[Upload, ...]
    limits: Limits
    group: str = ""
    block: int | None = None

    @property
    def name(self) -> str:
        return self.files[0].name if len(self.files) == 1 else "upload"

    @property
    def size(self) -> int:
        return sum(file.path.stat().st_size for file in self.files)

    @property
    def fingerprint(self) -> str:
        return str(self.size)

    def items(self) -> Iterator[Item]:
        contradicting = self._contradicting()
        for file in self.files:
            if len(self.files) > 1 and skip_reason(file.name):
                yield Item(self.name, file.name)  # other files of a folder sent as a whole
            elif normalised_name(file.name) in contradicting:
                yield Item(self.name, file.name, error=CONTRADICTING)
            else:
                yield from _items(file, self.name, self.limits)

    def of_source(self, source: str, members: Sequence[str]) -> Iterator[Item]:
        """The items of one source, at least ``members``; other archives are not opened.

        What was removed meanwhile has none.
        """
        wanted = set(members)
        for file in self.files:
            if file.name == source or (source == self.name and file.name in wanted):
                with contextlib.suppress(FileNotFoundError):
                    items = _items(file, self.name, self.limits)
                    yield from (item for item in items if item.source == source)

    def _contradicting(self) -> set[str]:
        """Names of HitsMisses.txt that were sent twice with different content.

        In an archive the later one is newer; of two uploads it is unknown which one is.
        """
        known: dict[str, str] = {}
        contradicting = set()
        for file in self.files:
            if len(self.files) > 1 and kind_of(file.name) is Kind.HITS_MISSES:
                name, digest = normalised_name(file.name), sha256(file.path)
                if known.setdefault(name, digest) != digest:
                    contradicting.add(name)
        return contradicting


def _items(file: Upload, source: str, limits: Limits) -> Iterator[Item]:
    with file.path.open("rb", buffering=2**20) as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(512)
        stream.seek(0)
        error = None
        if size == 0:
            error = InputError(Code.EMPTY_OBJECT, "0 bytes; send the file again")
        elif looks_like_image(head) or kind_of(file.name) in (Kind.HITS_MISSES, Kind.SIDECAR):
            if size > limits.member_bytes:
                error = InputError(
                    Code.TOO_LARGE, f"{size:,} bytes; the limit is {limits.member_bytes:,}"
                )
        elif looks_like_archive(head) or is_archive(file.name):
            yield from archive_items(file.name, stream, size, limits)
            return
        else:
            error = InputError(
                Code.UNSUPPORTED_FORMAT,
                f"the content begins with {head[:8]!r}, which is neither {NAMES} nor tar or zip; "
                "convert the file",
            )
        yield Item(source, file.name, None if error else stream.read(), error)


def given_name(disposition: str, parsed: str) -> str:
    r"""The file name in a part's header; ``parsed`` is aiohttp's reading of it.

    aiohttp reads every ``\`` as an escape, as MIME defines it. Browsers and most clients write
    names unescaped; curl and Python's email escape only ``\`` and ``"``. So only these two are
    unescaped here, and ``RawImages\pia7…`` stays as it is.
    """
    match = _FILENAME.search(disposition)
    if not match or "filename*" in disposition.lower():
        return parsed
    return re.sub(r'\\(["\\])', r"\1", match[1])


def clean_name(name: str) -> str:
    """A client's file name for the records: with its folders, printable, not too long.

    It is never used as a path. Its folders say which HitsMisses.txt belongs to which bin.
    """
    if name.startswith("/"):  # a path on the client's machine, which deepaas-cli sends
        name = name.rstrip("/").rpartition("/")[2]
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    name = "/".join("".join(c if c.isprintable() else "_" for c in part) for part in parts)
    return (printable(name) if name else "")[-MAX_NAME:] or "upload"
