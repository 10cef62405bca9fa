"""The marketplace's request: JSON with parameters and files in base64.

``{"oscar-files": [{"key": "a.tif", "file_format": "tif", "data": "<base64>"}], …}``.
Names in it are names, never paths to open.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pi10_classifier.errors import Code, InputError
from pi10_classifier.sources.archives import archive_items, looks_like_archive
from pi10_classifier.sources.base import Item, Limits

FILES = "oscar-files"
MAX_BYTES = 256 * 2**20
MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Request:
    """The files of a request, still in base64."""

    files: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Request:
        """Raises InputError: too_large, unsupported_format, empty_object."""
        if len(data) > MAX_BYTES:
            raise InputError(
                Code.TOO_LARGE,
                f"a request of {len(data):,} bytes; the cap is {MAX_BYTES:,}; send an archive",
            )
        try:
            payload: Any = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(
                Code.UNSUPPORTED_FORMAT, f"it starts like JSON but is not: {str(error)[:100]}"
            ) from error
        given = payload.get(FILES) if isinstance(payload, dict) else None
        if not isinstance(given, list):
            raise InputError(
                Code.UNSUPPORTED_FORMAT,
                f'JSON without "{FILES}": [{{"key", "file_format", "data"}}]; send that, an image, '
                "or a tar or zip of images",
            )
        if not given:
            raise InputError(Code.EMPTY_OBJECT, f'"{FILES}" is empty; add a file')
        if len(given) > MAX_FILES:
            raise InputError(
                Code.TOO_LARGE, f"{len(given):,} files; the cap is {MAX_FILES:,}; send an archive"
            )
        return cls(tuple(_file(number, entry) for number, entry in enumerate(given, start=1)))

    def items(self, source: str, limits: Limits) -> Iterator[Item]:
        """The images of all files, those of archives too, in their order."""
        for name, text in self.files:
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                why = InputError(Code.CORRUPT_IMAGE, f"its data is not base64: {error}; send again")
                yield Item(source, name, error=why)
                continue
            if looks_like_archive(data[:512]):
                yield from archive_items(name, io.BytesIO(data), len(data), limits)
            else:
                yield Item(source, name, data)


def _file(number: int, entry: Any) -> tuple[str, str]:
    fields = entry if isinstance(entry, dict) else {}
    data, form = fields.get("data"), fields.get("file_format", "")
    if not isinstance(data, str):
        raise InputError(
            Code.UNSUPPORTED_FORMAT, f'file {number} of "{FILES}" has no "data" in base64; add it'
        )
    name = str(fields.get("key") or f"file-{number}")[:1000]
    base = name.replace("\\", "/").rpartition("/")[2]
    if "." not in base and isinstance(form, str) and form:
        name = f"{name}.{form.lstrip('.')[:20]}"
    # data URLs are how browsers give a file
    return name, data.partition(";base64,")[2] if data.startswith("data:") else data


def looks_like_request(head: bytes) -> bool:
    """True where the first bytes may begin a JSON object."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
