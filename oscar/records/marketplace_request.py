"""Reads the marketplace's requests: JSON with parameters and files in base64.

``{"oscar-files": [{"key": "a.tif", "file_format": "tif", "data": "<base64>"}], …}``.
The keys are names only; they are never opened as paths.
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
        """Read a request. Raises InputError: too_large, unsupported_format, empty_object."""
        if len(data) > MAX_BYTES:
            raise InputError(
                Code.TOO_LARGE,
                f"a request of {len(data):,} bytes; the limit is {MAX_BYTES:,}; send an archive",
            )
        try:
            payload: Any = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(
                Code.UNSUPPORTED_FORMAT,
                f"it begins like JSON, but is not valid JSON: {str(error)[:100]}; send it again",
            ) from error
        files = payload.get(FILES) if isinstance(payload, dict) else None
        if not isinstance(files, list):
            raise InputError(
                Code.UNSUPPORTED_FORMAT,
                f'JSON without "{FILES}": [{{"key", "file_format", "data"}}]; send that, an image, '
                "or a tar or zip of images",
            )
        if not files:
            raise InputError(Code.EMPTY_OBJECT, f'"{FILES}" is empty; add a file')
        if len(files) > MAX_FILES:
            raise InputError(
                Code.TOO_LARGE, f"{len(files):,} files; the limit is {MAX_FILES:,}; send an archive"
            )
        return cls(tuple(_file(number, entry) for number, entry in enumerate(files, start=1)))

    def items(self, source: str, limits: Limits) -> Iterator[Item]:
        """The images of all files and archives, in order."""
        for name, text in self.files:
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                problem = InputError(
                    Code.CORRUPT_IMAGE, f"its data is not base64: {error}; send it again"
                )
                yield Item(source, name, error=problem)
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
    # browsers send files as data URLs
    return name, data.partition(";base64,")[2] if data.startswith("data:") else data


def looks_like_request(head: bytes) -> bool:
    """True if the first bytes may begin a JSON object."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
