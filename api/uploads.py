"""What clients send: files and options, taken from the request itself.

DEEPaaS parses requests with one webargs parser whose cache all requests share while they
wait for their bodies, so that one may be given another's form. Our own locations read
from the request alone. They also take several files under one name, and refuse text where
a file is due: no path that a client names is ever opened.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marshmallow
from aiohttp import web
from webargs import aiohttpparser

from pi10_classifier.archives import Limits, is_archive, looks_like_archive
from pi10_classifier.decode import looks_like_image
from pi10_classifier.errors import Code, InputError
from pi10_classifier.instrument import Kind, kind_of
from pi10_classifier.sources import Item, archive_items, printable

FILES = "files"  # the name apispec knows: formData
OPTIONS = "query_form_or_json"  # unknown to apispec, so documented as what it is by default: query
MAX_NAME = 255
MAX_JSON_BYTES = 2**20
_PARSED = "pi10.options"


class Received(list[str]):
    """The files of one request by their names, still in aiohttp's own unnamed storage."""

    def __init__(self, files: Sequence[web.FileField]) -> None:
        super().__init__(clean_name(file.filename) for file in files)
        self.files = tuple(files)

    def spool(self, folder: Path) -> Spooled:
        """Copy the bytes into ``folder``, which a worker can read. Raises OSError."""
        kept = []
        for number, (name, file) in enumerate(zip(self, self.files, strict=True)):
            path = folder / str(number)
            with path.open("xb") as target:
                file.file.seek(0)
                shutil.copyfileobj(file.file, target, 2**20)
            kept.append(Upload(name, path))
        return Spooled(folder, tuple(kept))


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file: the name the client gave it, and where its bytes are."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Spooled:
    """The files of one request on disk; ``folder`` is the request's own and goes with it."""

    folder: Path
    files: tuple[Upload, ...]


@dataclass(frozen=True, slots=True)
class UploadedFiles:
    """All files of a request as a unit: archives streamed, the rest one image each."""

    files: tuple[Upload, ...]
    limits: Limits
    group: str = ""

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
        for file in self.files:
            yield from _items(file, self.name, self.limits)


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
                    Code.TOO_LARGE, f"{size:,} bytes; the cap is {limits.member_bytes:,}"
                )
        elif looks_like_archive(head) or is_archive(file.name):
            yield from archive_items(file.name, stream, size, limits)
            return
        else:
            error = InputError(
                Code.UNSUPPORTED_FORMAT,
                f"content begins {head[:8]!r}, which is no TIFF, PNG or JPEG and no tar or zip; "
                "convert the file",
            )
        yield Item(source, file.name, None if error else stream.read(), error)


def clean_name(name: str) -> str:
    """A client's file name as it may be recorded: its last part, printable, not too long."""
    name = name.rpartition("/")[2]
    name = printable("".join(c if c.isprintable() else "_" for c in name)) if name else ""
    return name[-MAX_NAME:] or "upload"


@aiohttpparser.parser.location_handler(FILES)  # type: ignore[untyped-decorator]
async def files(request: web.Request, name: str, field: marshmallow.fields.Field) -> Any:
    """The files sent under ``name``. Raises ValidationError (422) where there is text instead."""
    parts = (await _form(request)).getall(name, [])
    if not parts:
        return marshmallow.missing
    if not all(isinstance(part, web.FileField) for part in parts):
        raise marshmallow.ValidationError({name: ["Not a file: send it as one, with a file name."]})
    return Received(parts)


@aiohttpparser.parser.location_handler(OPTIONS)  # type: ignore[untyped-decorator]
async def option(request: web.Request, name: str, field: marshmallow.fields.Field) -> Any:
    """An option from the query, the form or a JSON body, in this order."""
    if _PARSED not in request:
        request[_PARSED] = (request.query, await _form(request), await _json(request))
    for given in request[_PARSED]:
        if name in given:
            return given[name]
    return marshmallow.missing


async def _form(request: web.Request) -> Any:
    try:
        return await request.post()
    except (ValueError, LookupError) as error:  # no multipart, or an unknown charset
        what = str(error)[:200]
        raise marshmallow.ValidationError({"body": [f"The form cannot be read: {what}"]}) from error


async def _json(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json" or not request.body_exists:
        return {}
    try:
        if (request.content_length or 0) > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        given = json.loads(await request.text())
        if not isinstance(given, dict):
            raise ValueError("no object")
    except (ValueError, LookupError, RecursionError) as error:
        what = str(error)[:200]
        raise marshmallow.ValidationError({"json": [f"Invalid JSON body: {what}"]}) from error
    return given
