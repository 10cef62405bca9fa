"""The pictures of a part: read again in one pass over each source, as PNG without loss."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.imaging.decode import Caps, decode
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.labelling.crops import Before, encode_png, items_of, relocated
from pi10_classifier.results.run_folder import JOURNAL
from pi10_classifier.results.run_info import read_run
from pi10_classifier.sources.base import Item, Limits
from pi10_classifier.sources.repeats import keep_last_copies

GONE, CHANGED, UNREADABLE = "gone", "changed", "unreadable"
_CHUNK_ITEMS, _CHUNK_BYTES = 32, 4 * 2**20


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of a row; or the outcome, and why there is none."""

    row: int
    png: bytes = b""
    outcome: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the run read its images, and where they lie now.

    moved: beginnings of sources -> where they lie now.
    """

    um_per_px: float
    caps: Caps
    limits: Limits
    threads: int = 1
    moved: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Path, threads: int, moved: Mapping[str, str]) -> Reading:
        """Raises SettingError where ``run.json`` does not tell."""
        try:
            told = read_run(run)["parameters"]
            caps, limits = Caps(**told["caps"]), Limits(**told["limits"])
            return cls(float(told["um_per_px"]), caps, limits, threads, moved)
        except (LookupError, TypeError, ValueError) as error:
            raise SettingError(
                f"{run / 'run.json'} is of another version of this program ({error!r}); classify "
                "again"
            ) from error


@dataclass(frozen=True, slots=True)
class Part:
    """A part and its journal. fingerprint: of its archive in the run; repeats: it has copies."""

    stem: str
    fingerprint: str
    repeats: bool

    @classmethod
    def read(cls, run: Path, stem: str) -> Part:
        """Raises SettingError where the journal cannot be read."""
        path = run / JOURNAL / f"{stem}.json"
        try:
            entry = json.loads(path.read_bytes())
            codes = [failure[2] for failure in entry["failures"]]
            return cls(stem, str(entry["fingerprint"]), Code.REPEATED_NAME.value in codes)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise SettingError(
                f"{path} cannot be read ({error}); make it again: pi10 classify … --resume"
            ) from error


def read_pictures(part: Part, table: Any, reading: Reading) -> Iterator[Picture]:
    """One picture for each row of a part, in the order of its sources.

    table: Arrow, with source, member, width_px, height_px and area_um2. An image of another size
    or silhouette than in the run has changed. The silhouettes of an archive that is as old and as
    large as in the run are taken as they were. Raises SettingError where S3 is not configured.
    """
    rows: dict[str, dict[str, list[int]]] = {}
    names = zip(table["source"].to_pylist(), table["member"].to_pylist(), strict=True)
    for row, (source, member) in enumerate(names):
        rows.setdefault(source, {}).setdefault(member, []).append(row)
    sizes = _Sizes(table, reading.um_per_px)
    for source, wanted in rows.items():
        place = relocated(source, reading.moved)
        exact = _fingerprint(place) == part.fingerprint
        yield from _of_source(place, wanted, sizes, reading, exact=exact, repeats=part.repeats)


class _Sizes:
    """What the run saw of each row."""

    def __init__(self, table: Any, um_per_px: float) -> None:
        # an image is measured in pixels of the instrument to see whether it has changed
        self._scale = (UM_PER_PX / um_per_px) ** 2
        self._width = table["width_px"].to_numpy()
        self._height = table["height_px"].to_numpy()
        self._area = table["area_um2"].to_numpy()  # NaN where nothing was measured

    def of(self, row: int, *, exact: bool) -> Before:
        area = float(self._area[row]) * self._scale
        known = not exact and area == area
        return Before(
            int(self._width[row]), int(self._height[row]), area if known else None, written=0.0
        )


def _fingerprint(source: str) -> str:
    """That of a local archive, as ``sources.local`` makes it; "" of all else."""
    path = Path(source)
    try:
        info = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{info.st_size}-{info.st_mtime_ns}" if path.is_file() else ""


def _of_source(
    source: str,
    wanted: Mapping[str, Sequence[int]],
    sizes: _Sizes,
    reading: Reading,
    *,
    exact: bool,
    repeats: bool,
) -> Iterator[Picture]:
    members = list(wanted)
    problems: dict[str, Picture] = {}
    done: set[str] = set()
    broken = ""

    def tasks() -> Iterator[list[tuple[Item, Before]]]:
        nonlocal broken
        # copies of a file were there in the run: which of them counted is known at the end only
        items = (
            keep_last_copies(lambda: items_of(source, members, reading.limits))
            if repeats
            else items_of(source, members, reading.limits)
        )
        chunk: list[tuple[Item, Before]] = []
        held = 0
        for item in items:
            if not item.member and item.error:
                broken = str(item.error)
            if item.member not in wanted or (item.data is None and item.error is None):
                continue
            row = wanted[item.member][0]
            chunk.append((item, sizes.of(row, exact=exact)))
            held += len(item.data or b"")
            if len(chunk) == _CHUNK_ITEMS or held >= _CHUNK_BYTES:
                yield chunk
                chunk, held = [], 0
        if chunk:
            yield chunk

    def encode(chunk: Sequence[tuple[Item, Before]]) -> list[tuple[str, Picture]]:
        return [(item.member, _encode(item, before, reading.caps)) for item, before in chunk]

    results = ordered_map(encode, tasks(), reading.threads)
    for member, picture in chain.from_iterable(results):
        if member in done:
            continue
        if picture.outcome:
            problems[member] = picture
            continue
        done.add(member)
        for row in wanted[member]:
            yield replace(picture, row=row)
    gone = f"{source} does not hold it any more; where it moved: --moved FROM=TO"
    missing = Picture(-1, outcome=GONE, problem=broken or gone)
    for member in members:
        if member not in done:
            for row in wanted[member]:
                yield replace(problems.get(member, missing), row=row)


def _encode(item: Item, before: Before, caps: Caps) -> Picture:
    if item.data is None:
        return Picture(-1, outcome=UNREADABLE, problem=str(item.error))
    try:
        rgb = decode(item.data, caps).rgb
    except InputError as error:
        return Picture(-1, outcome=UNREADABLE, problem=str(error))
    if change := before.change(rgb):
        return Picture(-1, outcome=CHANGED, problem=f"{change}: another image lies there now")
    return Picture(-1, encode_png(rgb))
