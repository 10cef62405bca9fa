"""What a graph tells of itself: name, version, classes, preprocessing and licence, for others.

Nothing here reads it: a package's description is ``model.json``. The entries are ``metadata_props``
of ONNX's ModelProto (https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md), which anybody
reads by ``InferenceSession.get_modelmeta()``. They are written without the ``onnx`` package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pi10_classifier.model.onnx_guard import spans

_METADATA = 14  # field of ModelProto: entries of key = 1, value = 2
LICENCE = "model_license"
"""ONNX's own name of the entry."""


def entries_of(described: Mapping[str, Any]) -> dict[str, str]:
    """The entries, from the fields of ``model.json``; what is not text is JSON."""
    entries = {
        "name": str(described["name"]),
        "version": str(described["version"]),
        "classes": json.dumps(described["classes"], ensure_ascii=False),
        "preprocessing": json.dumps(described["preprocessing"], ensure_ascii=False),
    }
    licence = described.get("licence")
    return {**entries, LICENCE: str(licence)} if licence else entries


def with_metadata(graph: bytes, described: Mapping[str, Any]) -> bytes:
    """The graph with these entries in place of those that the same names had.

    Other entries and all other fields are kept, byte for byte. Raises ValueError or IndexError for
    bytes that are no graph.
    """
    entries = entries_of(described)
    message = memoryview(graph)
    kept = [
        message[start:end]
        for number, _, start, at, end in spans(message)
        if number != _METADATA or _key(message[at:end]) not in {*entries, LICENCE}
    ]
    return b"".join([*kept, *map(_entry, entries.items())])


def _key(entry: memoryview) -> str:
    keys = (bytes(entry[at:end]) for number, wire, _, at, end in spans(entry) if number == 1)
    return next(keys, b"").decode("utf-8", "replace")


def _entry(entry: tuple[str, str]) -> bytes:
    fields = b"".join(_field(number, text.encode()) for number, text in enumerate(entry, 1))
    return _field(_METADATA, fields)


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, *_varint(len(value))]) + value


def _varint(value: int) -> Iterator[int]:
    while value >= 0x80:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
