"""Each file of a unit once, however often an archive holds it: the last whole one counts.

An archive that was added to after an interrupted copy holds files twice, and tar means the
last. That is known at its end only, so reading is done in good faith: ``once`` keeps a
number for each name and nothing else, and raises ``Repeated`` at the first that comes again.
Whoever reads then begins anew with ``settled``, which looks through all names first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pi10_classifier.errors import Code, InputError
from pi10_classifier.imaging.decode import decode, looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of, names_particle, split_member
from pi10_classifier.sources.base import Item
from pi10_classifier.sources.input_rules import same_name

# a number of 64 bits, not the name: those of two million members are to fit into memory
Mark = Callable[[Item], int | None]


def particle_of(item: Item) -> int | None:
    """What is one particle: of the instrument's in whatever folder, of others by their path."""
    if item.data is None:
        return None
    base = split_member(item.member)[1]
    if names_particle(base):
        return hash(base[: base.rfind(".")].lower())
    return file_of(item)


def file_of(item: Item) -> int | None:
    """What is one file: its path, however it is spelled; None for what is no image."""
    if item.data is None:
        return None
    kind = kind_of(item.member)
    if kind is Kind.IMAGE or (kind is Kind.OTHER and looks_like_image(item.data[:16])):
        return hash((item.source, same_name(item.member)))
    return None


class Repeated(Exception):  # noqa: N818  no error
    """The unit holds a file twice: what was read of it is to be forgotten, and read anew."""


def once(items: Iterator[Item], mark_of: Mark = particle_of) -> Iterator[Item]:
    """Pass the items on; raises Repeated before an image that was there before."""
    seen: set[int] = set()
    add = seen.add
    for item in items:
        mark = mark_of(item)
        if mark is not None:
            if mark in seen:
                raise Repeated
            add(mark)
        yield item


def settled(read: Callable[[], Iterator[Item]], mark_of: Mark = particle_of) -> Iterator[Item]:
    """The items of ``read``, called twice; all but the last whole one of a name are failures."""
    last: dict[int, int] = {}
    twice: set[int] = set()
    for place, item in enumerate(read()):
        mark = mark_of(item)
        if mark is None:
            continue
        if mark not in last:
            last[mark] = place
        else:
            twice.add(mark)
            if _is_whole(item):
                last[mark] = place
    used = {mark: last[mark] for mark in twice}
    del last
    for place, item in enumerate(read()):
        mark = mark_of(item)
        kept = place if mark is None else used.get(mark, place)
        if kept == place:
            yield item
            continue
        where = "later" if kept > place else "before"
        what = f"the same file comes {where} in this source; that one is used"
        yield replace(item, data=None, error=InputError(Code.REPEATED_NAME, what))


def _is_whole(item: Item) -> bool:
    try:
        decode(item.data or b"")
    except InputError:
        return False
    return True
