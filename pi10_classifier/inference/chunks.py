"""Cuts a stream of items into chunks, the engine's unit of work."""

from __future__ import annotations

from collections.abc import Iterator

from pi10_classifier.model.runtime import CHUNK_ITEMS
from pi10_classifier.sources.base import Item

CHUNK_BYTES = 4 * 2**20


def chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Cut a stream of items by count and bytes: bounded memory, fixed boundaries."""
    chunk: list[Item] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += len(item.data) if item.data else 0
        if len(chunk) == CHUNK_ITEMS or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
