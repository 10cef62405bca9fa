"""Handles files that an archive holds more than once: the last complete copy is used.

An archive that was appended to after an interrupted copy holds files twice; in a tar the last
copy is the valid one. That is known only at the archive's end. So a unit is first read with
``raise_on_repeat``, which keeps one number per file and raises ``RepeatedFile`` where one comes
again. The caller then reads the unit again with ``keep_last_copies``, which scans it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import Code, InputError
from pi10_classifier.imaging.decode import decode, looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of, names_particle, split_member
from pi10_classifier.sources.base import Item
from pi10_classifier.sources.input_rules import normalised_name

RECENT = 2**16  # keys that are held as Python's numbers, of which each takes some 64 bytes
# a 64-bit number, not the name, so that the keys of two million members fit into memory
FileKey = Callable[[Item], int | None]


def particle_key(item: Item) -> int | None:
    """A key of the particle: the instrument's name in any folder; for other files, the path."""
    if item.data is None:
        return None
    base = split_member(item.member)[1]
    if names_particle(base):
        return hash(base[: base.rfind(".")].lower())
    return file_key(item)


def file_key(item: Item) -> int | None:
    """A key of the file: its path in any spelling; None for a file that is not an image."""
    if item.data is None:
        return None
    kind = kind_of(item.member)
    if kind is Kind.IMAGE or (kind is Kind.OTHER and looks_like_image(item.data[:16])):
        return hash((item.source, normalised_name(item.member)))
    return None


class RepeatedFile(Exception):  # noqa: N818  not an error
    """The unit holds a file twice: discard what was read of it and read it again."""


def raise_on_repeat(items: Iterator[Item], key_of: FileKey = particle_key) -> Iterator[Item]:
    """Pass the items on; raises RepeatedFile, at the latest at their end, if a file comes again.

    A key takes 8 bytes, but for the last ``RECENT``, which are compared with the others together.
    """
    recent: set[int] = set()
    before = np.empty(0, np.int64)
    for item in items:
        key = key_of(item)
        if key is not None:
            if key in recent:
                raise RepeatedFile
            recent.add(key)
            if len(recent) == RECENT:
                before = _joined(before, recent)
                recent.clear()
        yield item
    _joined(before, recent)


def _joined(before: NDArray[np.int64], recent: set[int]) -> NDArray[np.int64]:
    """All keys, sorted; raises RepeatedFile if one is in both."""
    keys = np.concatenate([before, np.fromiter(recent, np.int64, len(recent))])
    keys.sort()
    if (keys[1:] == keys[:-1]).any():
        raise RepeatedFile
    return keys


def keep_last_copies(
    read: Callable[[], Iterator[Item]], key_of: FileKey = particle_key
) -> Iterator[Item]:
    """The items of ``read``, which is called twice; only a file's last complete copy has bytes.

    Its other copies are failures.
    """
    last: dict[int, int] = {}
    repeated: set[int] = set()
    for position, item in enumerate(read()):
        key = key_of(item)
        if key is None:
            continue
        if key not in last:
            last[key] = position
        else:
            repeated.add(key)
            if _is_complete(item):
                last[key] = position
    used = {key: last[key] for key in repeated}
    del last
    for position, item in enumerate(read()):
        key = key_of(item)
        kept = position if key is None else used.get(key, position)
        if kept == position:
            yield item
            continue
        where = "after" if kept > position else "before"
        message = f"this source has another copy of the file {where} this one, which is used"
        yield item._replace(data=None, error=InputError(Code.REPEATED_NAME, message))


def _is_complete(item: Item) -> bool:
    try:
        decode(item.data or b"")
    except InputError:
        return False
    return True
