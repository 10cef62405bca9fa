"""Draws unlabelled particles from inputs, each with its profile where a method needs one.

A draw is the particles whose bytes have the smallest hashes. So it depends neither on the order of
the inputs nor on where they lie, one pass is enough, and the same bytes are drawn once.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.records import LeftOut
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.imaging.decode import decode, looks_like_image
from pi10_classifier.instrument.names import Kind, kind_of, particle_id
from pi10_classifier.sources.base import Item
from pi10_classifier.sources.discovery import check_images, check_inputs, discover
from pi10_classifier.training.pretraining.line_profiles import CHANNELS, line_profile
from pi10_classifier.training.pretraining.profile_table import ProfileTable
from pi10_classifier.training.pretraining.profiles import shortened

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

LEAST = 32  # particles, of which something can be learnt
_GIB = 2**30
_SHARE = 0.7  # of the free memory that the images may take


@dataclass(frozen=True, slots=True)
class Particle:
    """One particle that is trained on. height, width: of the crop as recorded, px."""

    source: str
    member: str
    particle_id: str
    sha256: str
    height: int
    width: int
    image: U8 = field(repr=False)
    profile: F32 | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The particles of a draw, in the order of their hashes; what could not be used; and counts.

    images: all images that the inputs hold. channels: of the profiles.
    """

    particles: tuple[Particle, ...]
    left_out: tuple[LeftOut, ...]
    images: int
    channels: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of all that a training sees of them."""
        digest = hashlib.sha256()
        for particle in self.particles:
            digest.update(f"{particle.sha256} {particle.particle_id}\n".encode())
            if particle.profile is not None:
                digest.update(particle.profile.tobytes())
        return digest.hexdigest()

    def csv(self) -> str:
        """The particles as CSV text: source, member, particle_id, sha256, height, width."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("source", "member", "particle_id", "sha256", "height_px", "width_px"))
        for p in self.particles:
            writer.writerow((p.source, p.member, p.particle_id, p.sha256, p.height, p.width))
        return text.getvalue()


def draw(
    inputs: Sequence[str],
    keep: Callable[[U8], U8],
    *,
    most: int,
    seed: int = 0,
    lines: bool = False,
    table: ProfileTable | None = None,
    free: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """Draw at most ``most`` particles of folders, archives and buckets.

    keep: what is held of an RGB image (H, W, 3) uint8. lines: with the extinction of each scanned
    line as profile. table: with its profiles; images of which it has none are left out. free: bytes
    of free memory. progress: called with the number of images read.
    Raises SettingError if an input is unusable, if fewer than 32 particles can be used, or if they
    do not fit into memory.
    """
    check_inputs(inputs)
    check_images(inputs)
    left_out: list[LeftOut] = []
    # the largest hash first, so that it is the first to give way
    heap: list[tuple[int, int, Item, str]] = []
    taken: dict[str, str] = {}
    images, waiting = 0, 0
    for item in _images(inputs, left_out):
        images += 1
        progress(images)
        name = particle_id(item.member)
        if table is not None and name not in table.ids:
            message = f"{table.path.name} has no row {name!r}"
            left_out.append(LeftOut(item.source, item.member, Code.NO_PROFILE.value, message))
            continue
        sha256 = hashlib.sha256(item.data or b"").hexdigest()
        if sha256 in taken:
            message = f"has the bytes of {taken[sha256]}, which counts"
            left_out.append(LeftOut(item.source, item.member, Code.DUPLICATE.value, message))
            continue
        order = -int(hashlib.sha256(f"{seed} {sha256}".encode()).hexdigest(), 16)
        if len(heap) >= most and order <= heap[0][0]:
            continue
        taken[sha256] = item.member
        entry = (order, images, item, sha256)
        waiting += len(item.data or b"")
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            gone = heapq.heappushpop(heap, entry)
            waiting -= len(gone[2].data or b"")
            del taken[gone[3]]
        _check_memory(waiting, free, len(heap), "files")
    chosen = [(item, sha256) for _, _, item, sha256 in sorted(heap, reverse=True)]
    profiles = _profiles(table, chosen, left_out) if table else {}
    particles, held = [], 0
    for item, sha256 in chosen:
        name = particle_id(item.member)
        if table and name not in profiles:
            continue
        try:
            rgb = decode(item.data or b"").rgb
        except InputError as error:
            left_out.append(LeftOut(item.source, item.member, error.code.value, error.message))
            continue
        profile = shortened(line_profile(rgb)) if lines else profiles.get(name)
        image = keep(rgb)
        height, width = rgb.shape[:2]
        particles.append(
            Particle(item.source, item.member, name, sha256, height, width, image, profile)
        )
        held += image.nbytes
        _check_memory(held, free, len(particles), "images")
    if len(particles) < LEAST:
        lost = f"; {len(left_out):,} are left out ({_reasons(left_out)})" if left_out else ""
        raise SettingError(
            f"{', '.join(inputs)}: {len(particles)} particles can be used, but at least {LEAST} are"
            f" needed{lost}; give more images"
        )
    channels = table.channels if table else CHANNELS if lines else ()
    return Drawn(tuple(particles), tuple(left_out), images, channels)


def _check_memory(held: int, free: int | None, count: int, what: str) -> None:
    if free is not None and held > _SHARE * free:
        raise SettingError(
            f"{count:,} {what} take {held / _GIB:.1f} GiB, but {free / _GIB:.1f} GiB were free;"
            " give a smaller --images or --size"
        )


def _images(inputs: Sequence[str], left_out: list[LeftOut]) -> Iterator[Item]:
    """All images of the inputs; what cannot be read is left out, what is no image is skipped."""
    for unit in discover(inputs):
        for item in unit.items():
            if item.error:
                left_out.append(
                    LeftOut(item.source, item.member, item.error.code.value, item.error.message)
                )
            elif item.data is not None and _is_image(item.member, item.data):
                yield item


def _is_image(member: str, data: bytes) -> bool:
    kind = kind_of(member)
    return kind is Kind.IMAGE or (kind is Kind.OTHER and looks_like_image(data[:16]))


def _profiles(
    table: ProfileTable, chosen: Sequence[tuple[Item, str]], left_out: list[LeftOut]
) -> dict[str, F32]:
    """The table's profiles of the chosen particles; images without a usable one are left out."""
    by_name: dict[str, Item] = {}
    for item, _ in chosen:
        name = particle_id(item.member)
        other = by_name.setdefault(name, item)
        if other is not item:
            raise SettingError(
                f"two images are the particle {name!r}: {other.source}: {other.member} and"
                f" {item.source}: {item.member}; its profile belongs to one, so leave one out"
            )
    profiles: dict[str, F32] = {}
    for name, profile in table.read(by_name.keys()):
        if isinstance(profile, str):
            item = by_name[name]
            left_out.append(LeftOut(item.source, item.member, Code.BAD_PROFILE.value, profile))
        else:
            profiles[name] = shortened(profile)
    return profiles


def _reasons(left_out: Sequence[LeftOut]) -> str:
    codes = [entry.code for entry in left_out]
    return ", ".join(f"{codes.count(code)} {code}" for code in sorted(set(codes)))
