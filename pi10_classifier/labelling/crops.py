"""The pixels of sampled particles: read again from where the run read them, and kept as PNG.

An archive is streamed once, however many of its particles are wanted. The pictures are kept in
``validation/crops``, so that a page can show them at once and without the archive.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2

from pi10_classifier.errors import InputError
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.measurement import measure
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.labelling.sample import FOLDER, make_folder
from pi10_classifier.results.run_folder import JOURNAL, PREDICTIONS, SETTINGS
from pi10_classifier.results.stored_rows import rows_at
from pi10_classifier.sources.base import LIMITS, Item, Limits, Unit, printable
from pi10_classifier.sources.local import FileBlock, LocalArchive, LooseFile

CROPS = "crops"
SAME_AREA = 0.02  # of the area: more is another image

Progress = Callable[[int, int], None]
"""Particles read and wanted in all."""

Reader = Callable[[str, Sequence[str]], Iterator[Item]]
"""Source and wanted members -> the items of the source, at least those wanted."""


class Located(Protocol):
    """A particle whose pixels can be found again: of the sample, or suggested."""

    @property
    def particle_id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def member(self) -> str: ...
    @property
    def predicted(self) -> str: ...
    @property
    def bin(self) -> str: ...
    @property
    def datetime(self) -> str: ...
    @property
    def part(self) -> str: ...
    @property
    def row(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Crop:
    """The pixels of a particle (H, W, 3), RGB, 8 bits; or ``problem`` says why there are none."""

    particle: Located
    rgb: U8 | None = None
    problem: str = ""


def read_crops(
    run: Path, wanted: Sequence[Located], *, moved: Mapping[str, str] | None = None,
    reader: Reader | None = None,
) -> Iterator[Crop]:  # fmt: skip
    """Read the pixels of particles, one pass over each source; each particle comes once.

    moved: beginnings of sources -> where they lie now. reader: reads a source that lies at no path
    of its name, such as an upload. An image whose width, height or silhouette
    is not that of the run has changed since, and counts as a problem. Raises SettingError where S3
    is not configured.
    """
    before = _before(run, wanted)
    by_source: dict[str, list[Located]] = {}
    for particle in wanted:
        by_source.setdefault(particle.source, []).append(particle)
    for source, particles in by_source.items():
        members: dict[str, list[Located]] = {}
        for particle in particles:
            members.setdefault(particle.member, []).append(particle)
        last: dict[str, Crop] = {}
        items = (
            reader(source, list(members)) if reader
            else items_of(relocated(source, moved or {}), list(members))
        )  # fmt: skip
        for item in items:
            # the last complete copy counts, as in the run
            if item.member not in members or (item.data is None and item.error is None):
                continue
            first = members[item.member][0]
            crop = _crop(first, item, before.get((first.part, first.row)))
            if crop.rgb is not None or item.member not in last:
                last[item.member] = crop
        for member, same in members.items():
            if member not in last:
                last[member] = Crop(same[0], problem=_gone(source, member, reader, moved or {}))
            crop = last[member]
            for particle in same:
                yield replace(crop, particle=particle)


def _gone(source: str, member: str, reader: Reader | None, moved: Mapping[str, str]) -> str:
    """Why there is no image: its source is not there or out of reach, or is there and lacks it."""
    remedy = "upload it again" if reader else "where it moved: --moved FROM=TO"
    where = relocated(source, moved)
    try:
        if reader or where.startswith("s3://") or Path(where).exists():
            return f"{source} does not hold {member} any more; {remedy}"
    except OSError as error:  # such as a folder without permission
        return f"{where} cannot be reached ({error.strerror}); get permission, or say {remedy}"
    seen = "" if Path(where).is_absolute() else f" below {Path.cwd()}, where this was started"
    return f"{where} does not exist{seen}; {remedy}"


def _crop(particle: Located, item: Item, before: Before | None) -> Crop:
    if item.data is None:
        return Crop(particle, problem=str(item.error))
    try:
        rgb = decode(item.data).rgb
    except InputError as error:
        return Crop(particle, problem=str(error))
    if before is not None and (change := before.change(rgb)):
        return Crop(
            particle,
            problem=f"{change}: another image lies there now; classify again, or put the old one "
            "back",
        )
    return Crop(particle, rgb)


def relocated(source: str, moved: Mapping[str, str]) -> str:
    """Where a source lies now. moved: beginnings of sources -> where they lie now."""
    for before in sorted(moved, key=len, reverse=True):
        if source == before or source.startswith(before.rstrip("/") + "/"):
            return moved[before].rstrip("/") + source[len(before.rstrip("/")) :]
    return source


def items_of(source: str, members: Sequence[str], limits: Limits = LIMITS) -> Iterator[Item]:
    """The items of a source: of an archive all, of loose files those wanted."""
    if source.startswith("s3://"):
        yield from _stored_items(source, members, limits)
        return
    path = Path(source)
    unit: Unit
    try:
        if path.is_dir():
            unit = FileBlock(source, source, 0, tuple(_files(path, members)), limits)
        else:
            info = path.stat()
            unit = LocalArchive(path, info.st_size, info.st_mtime_ns, limits, source)
    except OSError:
        return  # each member is told as gone
    yield from unit.items()


def _files(folder: Path, members: Sequence[str]) -> Iterator[LooseFile]:
    for member in members:
        path = folder / member
        # names in the table come from file systems; a table from elsewhere must not lead out
        if ".." in Path(member).parts or Path(member).is_absolute():
            continue
        try:
            info = path.stat()
        except OSError:
            path = _undecodable(folder, member)
            try:
                info = path.stat()
            except OSError:
                continue
        yield LooseFile(path, member, info.st_size, info.st_mtime_ns)


def _undecodable(folder: Path, member: str) -> Path:
    """The file whose printable path is ``member``; the tables hold names as valid UTF-8."""
    place = folder
    for part in Path(member).parts:
        try:
            paths = list(place.iterdir())
        except OSError:
            return folder / member
        place /= next((path.name for path in paths if printable(path.name) == part), part)
    return place


def _stored_items(source: str, members: Sequence[str], limits: Limits) -> Iterator[Item]:
    from pi10_classifier.sources.s3 import S3Archive, stored_units
    from pi10_classifier.sources.s3_client import S3Client

    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    store = S3Client(os.environ)
    if source.endswith("/") or not prefix:
        for member in members:  # a listing of the whole key: also found are keys that begin so
            for unit in stored_units(store, bucket, prefix + member, limits):
                for item in unit.items():
                    if f"{item.source}{item.member}" == f"{source}{member}":
                        yield item._replace(source=source, member=member)
        return
    for unit in stored_units(store, bucket, prefix, limits):
        if isinstance(unit, S3Archive) and unit.name == source:
            yield from unit.items()


@dataclass(frozen=True, slots=True)
class Before:
    """What the run saw of a particle. written: when its part was written, seconds since 1970."""

    width_px: int
    height_px: int
    area_um2: float | None
    written: float

    def change(self, rgb: U8) -> str:
        """How pixels (H, W, 3) differ from it, or ""."""
        height, width = rgb.shape[:2]
        if (width, height) != (self.width_px, self.height_px):
            return f"is {width} x {height} px, was {self.width_px} x {self.height_px} px in the run"
        if self.area_um2 is None:
            return ""
        size = measure(rgb)
        area = size.area_um2 if size else 0.0
        if abs(area - self.area_um2) > SAME_AREA * self.area_um2:
            return f"shows an area of {area:,.0f} µm², was {self.area_um2:,.0f} µm² in the run"
        return ""


def _before(run: Path, wanted: Sequence[Located]) -> dict[tuple[str, int], Before]:
    """(part, row) -> what the run saw."""
    lines = rows_of(run, wanted, ["width_px", "height_px", "area_um2"])
    written = {
        part: _part(run, part).stat().st_mtime for part in {particle.part for particle in wanted}
    }
    # images are measured again with the instrument's pixels, whatever those of the run were
    scale = (UM_PER_PX / _um_per_px(run)) ** 2
    for line in lines.values():
        if line["area_um2"] is not None:
            line["area_um2"] *= scale
    return {place: Before(**line, written=written[place[0]]) for place, line in lines.items()}


def _um_per_px(run: Path) -> float:
    try:
        settings = json.loads((run / JOURNAL / SETTINGS).read_text("utf-8"))
        return float(settings["um_per_px"])
    except (OSError, ValueError, LookupError, TypeError):
        return UM_PER_PX


def rows_of(
    run: Path, wanted: Sequence[Located], columns: Sequence[str]
) -> dict[tuple[str, int], dict[str, Any]]:
    """(part, row) -> what ``predictions.parquet`` has of a particle. Raises SettingError."""
    places = [(particle.part, particle.row) for particle in wanted]
    return rows_at({part: _part(run, part) for part, _ in places}, places, columns)


def _part(run: Path, part: str) -> Path:
    return run / PREDICTIONS / f"{part}.parquet"


class CropCache:
    """Pictures of a sample's particles as PNG in ``validation/crops``."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folder = run / FOLDER / CROPS

    def path(self, particle: Located) -> Path:
        """Where the picture lies, or would: the name follows from particle, source and member."""
        name = "\0".join((particle.particle_id, particle.source, particle.member))
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.png"

    def missing(self, sample: Sequence[Located]) -> list[Located]:
        return [particle for particle in sample if not _holds(self.path(particle))]

    def fill(
        self,
        sample: Sequence[Located],
        *,
        moved: Mapping[str, str] | None = None,
        reader: Reader | None = None,
        progress: Progress = lambda done, wanted: None,
        sync: bool = True,
    ) -> dict[str, str]:
        """Read what is missing; particle_id -> why it has no picture. Raises OutputError.

        moved, reader: as of ``read_crops``. sync: have each on the disk at once; without, a power
        failure may cost pictures, which are then read again, and thousands come much sooner.
        """
        self._drop_stale(sample)
        missing = self.missing(sample)
        problems: dict[str, str] = {}
        if missing:
            make_folder(self._run, CROPS)
        for done, crop in enumerate(read_crops(self._run, missing, moved=moved, reader=reader), 1):
            if crop.rgb is None:
                problems[crop.particle.particle_id] = crop.problem
            else:
                with atomic_path(self.path(crop.particle), sync=sync, option="") as temporary:
                    temporary.write_bytes(encode_png(crop.rgb))
            progress(done, len(missing))
        return problems

    def _drop_stale(self, sample: Sequence[Located]) -> None:
        """Remove pictures of before the run was made again, where it then saw other pixels."""
        before = _before(self._run, sample)
        for particle in sample:
            path, seen = self.path(particle), before[particle.part, particle.row]
            try:
                if path.stat().st_mtime >= seen.written:
                    continue
                fresh = not seen.change(decode(path.read_bytes()).rgb)
            except FileNotFoundError:
                continue
            except (OSError, InputError):
                fresh = False
            if fresh:
                os.utime(path)
            else:
                path.unlink()

    def read(self, particle: Located) -> bytes | None:
        """The PNG, or None where there is none."""
        try:
            return self.path(particle).read_bytes()
        except OSError:
            return None


def _holds(path: Path) -> bool:
    """Whether there is a file that is not empty, as a power failure leaves one."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def encode_png(rgb: U8) -> bytes:
    """Pixels (H, W, 3) as PNG, without loss.

    OpenCV's own settings (run lengths of one filter) take 0.26 ms and 16.0 kB for a genuine crop;
    levels 1 to 9 take 0.7 to 2.3 ms and 16.5 to 17.3 kB.
    """
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
