"""Writes bins in the instrument's own format, each completely or not at all."""

from __future__ import annotations

import math
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.instrument.names import BIN_MINUTES, Bin, Particle
from pi10_classifier.simulate.encode import BLOCK_LINES, Place, encode_tiff
from pi10_classifier.simulate.pen import Rng
from pi10_classifier.simulate.scene import Source, Studio, draw_background

TRUTH_COLUMNS = ("particle_id", "bin", "member", "minute", "label", "kind")
UNFINISHED = ".part"  # suffix of a file or folder that is still being written
MAX_IMAGES = 10**8  # a particle's number has eight digits

_BLOCKS_PER_SECOND = 782
_SENSOR_COLUMNS = 4096
_REPORT_EVERY = 100

Progress = Callable[[int], None]
Truth = Callable[[tuple[str, ...]], object]


@dataclass(frozen=True, slots=True)
class BinPlan:
    """The plan of one bin.

    start: UTC; off the ten-minute grid where the bin is partial. images: number of particles
    saved. minutes: length, 1 to 10. fix: whether the GPS had a fix.
    """

    instrument: str
    start: datetime
    images: int
    minutes: int = BIN_MINUTES
    fix: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", self.instrument):
            raise SettingError(
                f"instrument {self.instrument!r} must be a name such as pia7: a letter, then up to "
                "31 letters, digits, _ or -"
            )
        if self.start.utcoffset() != timedelta(0) or self.start.second or self.start.microsecond:
            raise SettingError(f"bin start {self.start} must be a whole minute in UTC")
        if not 1 <= self.images <= MAX_IMAGES:
            raise SettingError(f"{self.images} images in a bin; give 1 to {MAX_IMAGES:,}")
        if not 1 <= self.minutes <= BIN_MINUTES:
            raise SettingError(f"{self.minutes} minutes in a bin; give 1 to {BIN_MINUTES}")

    @property
    def bin(self) -> Bin:
        return Bin(self.instrument, self.start)

    @property
    def folder(self) -> str:
        """``2024-06-24/1450``: the bin's path below its cruise, without ``.tar``."""
        return f"{self.start:%Y-%m-%d/%H%M}"


class _Container(Protocol):
    def add(self, name: str, data: bytes, when: datetime) -> None: ...


class _Tar:
    """A bin as one tar, with a fixed owner and mode, and the moment of capture as file time.

    The headers are written here because ``tarfile.TarFile`` keeps all of them in memory.
    """

    def __init__(self, path: Path, *, slash: bool) -> None:
        self._file = path.open("wb")
        self._slash = slash

    def add(self, name: str, data: bytes, when: datetime) -> None:
        info = tarfile.TarInfo(name if self._slash else name.replace("/", "\\"))
        info.size, info.mtime = len(data), int(when.timestamp())
        self._file.write(info.tobuf(tarfile.USTAR_FORMAT, "ascii"))
        self._file.write(data)
        self._file.write(bytes(-len(data) % tarfile.BLOCKSIZE))

    def __enter__(self) -> _Tar:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.write(bytes(2 * tarfile.BLOCKSIZE))
            self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))


class _Folder:
    """A bin as a folder, with ``RawImages`` below it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        (path / "RawImages").mkdir(parents=True)

    def add(self, name: str, data: bytes, when: datetime) -> None:
        (self._path / name).write_bytes(data)

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Track:
    """The ship's course: up and down a survey area at about ten knots."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng((seed, 4))
        self._centre = rng.uniform(48.5, 56.0), rng.uniform(-9.0, -6.0)
        self._phase = rng.uniform(0, 2 * np.pi, 2)

    def at(self, when: datetime) -> tuple[float, float]:
        """Latitude and longitude at a time, degrees."""
        hours = when.timestamp() / 3600
        north = math.sin(2 * math.pi * hours / 57 + self._phase[0])
        east = math.sin(2 * math.pi * hours / 91 + self._phase[1])
        return float(self._centre[0] + 1.4 * north), float(self._centre[1] + 2.2 * east)


def draw_misses(hits: Sequence[int], rng: Rng) -> list[int]:
    """Misses of each minute. Most bins miss nothing; some save one particle in thirty."""
    busy = rng.random() < 0.45
    level = float(np.exp(rng.uniform(0.0, 3.6)))
    misses = []
    for count in hits:
        swing = float(np.exp(rng.normal(0, 0.5)))
        raised = max(1.0, level * swing) if rng.random() < 0.8 else 1.0
        misses.append(round(count * (raised - 1)) if busy else 0)
    return misses


def _generator(seed: int, plan: BinPlan) -> Rng:
    """The bin's own random generator, so that bins can be written in any order."""
    name = int.from_bytes(str(plan.bin).encode(), "big")
    return np.random.default_rng((seed, 5, name))


def _sidecars(plan: BinPlan, hits: Sequence[int], rng: Rng) -> Iterator[tuple[str, bytes]]:
    def text(lines: Sequence[str]) -> bytes:
        return "".join(line + "\r\n" for line in lines).encode("ascii")

    background = draw_background(rng, 8, 1024)
    yield "Background.tif", encode_tiff(background, plan.start, None, None)
    yield "Bubbles.txt", text([f"{minute},{rng.poisson(2)}" for minute in range(plan.minutes)])
    end = plan.start + timedelta(minutes=plan.minutes)
    yield (
        "Cameralog.txt",
        text([f"{plan.start:%Y-%m-%d %H:%M:%S} start", f"{end:%Y-%m-%d %H:%M:%S} stop"]),
    )
    if rng.random() < 0.3:
        edges = draw_background(rng, 8, 256)
        yield "FlowCellEdges.tif", encode_tiff(edges, plan.start, None, None)
    rows = zip(hits, draw_misses(hits, rng), strict=True)
    yield "HitsMisses.txt", text(["hits,misses", *(f"{hit},{miss}" for hit, miss in rows)])


def _fill(
    container: _Container,
    plan: BinPlan,
    seed: int,
    source: Source,
    truth: Truth | None,
    separator: str,
) -> Iterator[int]:
    """Write a bin's members; yields the number of images written so far."""
    rng = _generator(seed, plan)
    track = Track(seed)
    shares = rng.dirichlet(np.full(plan.minutes, 4.0))
    hits = [int(count) for count in rng.multinomial(plan.images, shares)]
    for name, data in _sidecars(plan, hits, rng):
        container.add(name, data, plan.start)
    first = int(rng.integers(2**31))  # each bin begins at a different crop
    number = 0
    for minute, count in enumerate(hits):
        begin = plan.start + timedelta(minutes=minute)
        stamp = f"{begin:%Y-%m-%dT%H:%M:%SZ}"
        for second in np.sort(rng.uniform(0, 60, count)):
            when = begin + timedelta(seconds=int(second))
            latitude, longitude = track.at(when) if plan.fix else (None, None)
            scene = source.image(first + number, rng)
            height, width = scene.rgb.shape[:2]
            column = int(rng.integers(max(1, _SENSOR_COLUMNS - width)))
            line = int(rng.integers(BLOCK_LINES))
            block = int((60 * minute + second) * _BLOCKS_PER_SECOND)
            data = encode_tiff(
                scene.rgb, when, latitude, longitude, place=Place.seen(column, line, block, height)
            )
            particle = str(Particle(plan.bin, number))
            container.add(f"RawImages/{particle}.tif", data, when)
            if truth:
                member = f"RawImages{separator}{particle}.tif"
                truth((particle, str(plan.bin), member, stamp, scene.label, scene.kind))
            number += 1
            yield number


def write_bin(
    plan: BinPlan,
    cruise: Path,
    *,
    seed: int,
    source: Source | None = None,
    folders: bool = False,
    slash: bool = False,
    truth: Truth | None = None,
    progress: Progress | None = None,
) -> Path:
    r"""Write one bin below the folder ``cruise``; returns the path of its tar or folder.

    source: gives the images; by default they are drawn. folders: write a folder instead of a tar.
    slash: separate folder and file in a tar's member names with ``/``; without it, with ``\``, as
    the instrument does. truth: is called with a row of ``TRUTH_COLUMNS`` for each image.
    progress: is called with the number of images written so far. Raises OutputError where writing
    fails, and removes the unfinished bin.
    """
    path = cruise / (plan.folder if folders else plan.folder + ".tar")
    part = path.with_name(path.name + UNFINISHED)
    images = source or Studio(seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
        with _Folder(part) if folders else _Tar(part, slash=slash) as container:
            separator = "/" if folders or slash else "\\"
            for number in _fill(container, plan, seed, images, truth, separator):
                if progress and (number % _REPORT_EVERY == 0 or number == plan.images):
                    progress(number)
        if folders:
            _remove(path)
        part.replace(path)
    except OSError as error:
        raise output_error(error, path) from error
    finally:
        _remove(part)
    return path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
