"""Sources of simulated images: drawn particles on a flow cell, or real crops."""

from __future__ import annotations

import math
import tarfile
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import cv2
import numpy as np

from pi10_classifier.errors import InputError, SettingError
from pi10_classifier.imaging.decode import decode
from pi10_classifier.instrument.formats import SUFFIXES
from pi10_classifier.simulate.particles import KINDS, draw
from pi10_classifier.simulate.pen import U8, Particle, Rng

STEP = 8  # widths and heights are multiples of 8 px
POOL = 100  # particles drawn per class; each image turns, scales and mirrors one of them
MASTER_PX = 128  # body length of a pooled particle
GIANT_SHARE = 4e-4  # images whose particle is centimetres long
PROPORTIONS: Mapping[str, float] = {"copepod": 0.35, "noncopepod": 0.15, "detritus": 0.5}

_SHEET_ROWS, _SHEET_COLUMNS = 384, 1536
_FRINGES = ((0, 0), (0, 0), (1, 0), (-1, 0), (0, 1), (1, 1))  # px between colours
_SPECK_EVERY = 600  # px of background per speck


@dataclass(frozen=True, slots=True)
class Scene:
    """One image: its class (label), what it shows (kind) and its pixels, RGB (H, W, 3) uint8."""

    label: str
    kind: str
    rgb: U8


class Source(Protocol):
    """An endless series of images. rng: the random generator of the image's bin."""

    def image(self, number: int, rng: Rng) -> Scene: ...


def round_up(size: float) -> int:
    """The next multiple of 8 px."""
    return max(STEP, -int(-size // STEP) * STEP)


class Studio:
    """Draws particles of three classes; the same seed gives the same images.

    proportions: share of each label; need not sum to 1. Raises SettingError for unknown labels and
    unusable shares.
    """

    def __init__(self, seed: int, proportions: Mapping[str, float] = PROPORTIONS) -> None:
        unknown = set(proportions) - set(KINDS)
        if unknown or any(not 0 <= share < float("inf") for share in proportions.values()):
            raise SettingError(
                f"class proportions {dict(proportions)} must be numbers from 0, "
                f"for {', '.join(KINDS)}"
            )
        total = sum(proportions.values())
        if total <= 0:
            raise SettingError("class proportions are all zero; give at least one class a share")
        self.seed = seed
        self._labels = list(proportions)
        self._steps = [part / total for part in accumulate(proportions.values())]
        self._pool: dict[tuple[str, int], Particle] = {}
        self._sheet: U8 | None = None

    def image(self, number: int, rng: Rng) -> Scene:
        at = bisect_right(self._steps, rng.random())
        label = self._labels[min(at, len(self._labels) - 1)]
        if rng.random() < GIANT_SHARE:
            extent = rng.uniform(700, 1500)
            particle = draw(label, rng, length=round(extent * 0.75))
        else:
            particle = self._pooled(label, int(rng.integers(POOL)))
            extent = float(np.clip(np.exp(rng.normal(4.37, 0.41)), 28, 420))
        return Scene(label, particle.kind, self._lay_out(particle, extent, rng))

    def _pooled(self, label: str, number: int) -> Particle:
        """Particle ``number`` of the class, drawn on first use by its own random generator."""
        key = (label, number)
        if key not in self._pool:
            rng = np.random.default_rng((self.seed, 1, list(KINDS).index(label), number))
            self._pool[key] = draw(label, rng, length=MASTER_PX)
        return self._pool[key]

    @property
    def sheet(self) -> U8:
        """The empty flow cell, RGB (384, 1536, 3) uint8, with stripes, specks and noise."""
        if self._sheet is None:
            self._sheet = draw_background(np.random.default_rng((self.seed, 2)))
        return self._sheet

    def _lay_out(self, particle: Particle, extent: float, rng: Rng) -> U8:
        """Turn and scale the particle to ``extent`` px and lay it over the flow cell."""
        scale = extent / particle.extent
        turn, mirror, fringe, *margins = rng.random(5).tolist()
        c, s = math.cos(2 * math.pi * turn) * scale, math.sin(2 * math.pi * turn) * scale
        flip = -1.0 if mirror < 0.5 else 1.0
        matrix = np.array(((c, -s * flip), (s, c * flip)))
        hull = particle.hull @ matrix.T
        low, high = hull.min(axis=0), hull.max(axis=0)
        width, height = (
            round_up(span + 8 + 14 * m) for span, m in zip(high - low, margins, strict=True)
        )
        offset = (np.array((width, height)) - high - low) / 2

        level = 0
        while scale * (1 << level) < 0.6 and level + 1 < len(particle.levels):
            level += 1
        # pixel k of a smaller level covers the pixels 2k and 2k + 1 of the level before
        grow = 1 << level
        warp = np.empty((2, 3))
        warp[:, :2] = matrix * grow
        warp[:, 2] = offset + matrix @ np.full(2, (grow - 1) / 2)
        # one extra pixel on each side, because the colours are shifted by up to one pixel
        warp[:, 2] += 1
        opaque = cv2.warpAffine(particle.levels[level], warp, (width + 2, height + 2))
        dx, dy = _FRINGES[int(fringe * len(_FRINGES))]
        planes = []
        for step, tint in zip((-1, 0, 1), particle.tint, strict=True):
            x, y = 1 + step * dx, 1 + step * dy
            plane = opaque[y : y + height, x : x + width]
            planes.append(cv2.convertScaleAbs(plane, alpha=-tint, beta=255))
        ground = self._ground(width, height, rng)
        rgb = cv2.multiply(ground, cv2.merge(planes), scale=rng.uniform(0.94, 1.08) / 255)
        # the instrument sharpens, which leaves a light rim around dark objects
        soft = cv2.blur(rgb, (3, 3))
        return np.asarray(cv2.addWeighted(rgb, 1.5, soft, -0.5, 0), np.uint8)

    def _ground(self, width: int, height: int, rng: Rng) -> U8:
        sheet = self.sheet
        if height > sheet.shape[0] or width > sheet.shape[1]:
            times = (-(-height // sheet.shape[0]), -(-width // sheet.shape[1]), 1)
            sheet = np.tile(sheet, times)
        top = int(rng.integers(sheet.shape[0] - height + 1))
        left = int(rng.integers(sheet.shape[1] - width + 1))
        ground = sheet[top : top + height, left : left + width]
        return ground[::-1] if rng.random() < 0.5 else ground


def draw_background(rng: Rng, rows: int = _SHEET_ROWS, columns: int = _SHEET_COLUMNS) -> U8:
    """An empty flow cell, RGB (rows, columns, 3) uint8.

    Dirt on the cell of a line-scan camera makes vertical stripes. Bubbles, grains and objects far
    out of focus make specks.
    """
    broad = cv2.resize(rng.normal(0, 5.0, (1, 24)), (columns, 1), interpolation=cv2.INTER_CUBIC)
    level = 238.0 + np.repeat(broad[:, :, None], 3, axis=2)
    level += rng.normal(0, 1.2, (1, columns, 1)) + rng.normal(0, 0.5, (1, columns, 3))
    for _ in range(columns // 90):
        at, wide = int(rng.integers(columns - 6)), int(rng.integers(1, 6))
        level[:, at : at + wide] -= rng.uniform(2, 22) * rng.uniform(0.3, 1.0, 3)
    sheet = level + rng.normal(0, 3.5, (rows, columns, 1)) + rng.normal(0, 1.2, (rows, columns, 3))
    shade: U8 = np.zeros((rows, columns), np.uint8)
    for _ in range(rows * columns // _SPECK_EVERY):
        centre = (int(rng.integers(columns)) * 16, int(rng.integers(rows)) * 16)
        radius = int(rng.uniform(0.8, 3.2) * 16)
        depth = float(rng.choice((18, 30, 55, 110), p=(0.4, 0.35, 0.2, 0.05)))
        thick = 1 if rng.random() < 0.4 else cv2.FILLED
        cv2.circle(shade, centre, radius, (depth,), thick, cv2.LINE_AA, 4)
    shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), 0.8), np.uint8)
    return np.clip(sheet - shade[:, :, None], 0, 255).astype(np.uint8)


def pad_crop(rgb: U8) -> U8:
    """RGB (H, W, 3) -> sides that are multiples of 8 px, padded with the border's median level."""
    height, width = rgb.shape[:2]
    down, right = round_up(height) - height, round_up(width) - width
    if not down and not right:
        return rgb
    edge = np.concatenate((rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]))
    level = [float(value) for value in np.median(edge, axis=0).round()]
    top, left = down // 2, right // 2
    padded = cv2.copyMakeBorder(
        rgb, top, down - top, left, right - left, cv2.BORDER_CONSTANT, value=level
    )
    return np.asarray(padded, np.uint8)


class Crops:
    """Labelled crops in a folder tree or an uncompressed tar, ``[…/]group/label/name.ext``.

    The crops are read one at a time in an order shuffled by ``seed``, and again from the start
    when they run out. The group becomes the label of a Scene, the label below it the kind. Raises
    SettingError where the crops cannot be read or there are none.
    """

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.path = path
        self._tar: tarfile.TarFile | None = None
        members: dict[str, tarfile.TarInfo | None]
        try:
            if path.is_dir():
                members = {
                    item.relative_to(path).as_posix(): None
                    for item in path.rglob("*")
                    if item.is_file() and item.suffix.lower() in SUFFIXES
                }
            else:
                self._tar = tarfile.open(path, "r:")  # noqa: SIM115  closed by __exit__
                members = {
                    member.name: member
                    for member in self._tar
                    if member.isreg() and member.name.lower().endswith(SUFFIXES)
                }
        except (OSError, tarfile.TarError) as error:
            raise SettingError(
                f"crops cannot be read from {path}: {error}; name a folder or an uncompressed tar"
            ) from error
        if not members:
            raise SettingError(f"{path} holds no {', '.join(SUFFIXES)}; name a folder of crops")
        order = np.random.default_rng((seed, 3)).permutation(len(members))
        by_name = sorted(members.items(), key=lambda item: item[0])
        self._crops = [by_name[index] for index in order]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tar:
            self._tar.close()

    def __len__(self) -> int:
        return len(self._crops)

    def image(self, number: int, rng: Rng) -> Scene:
        name, member = self._crops[number % len(self._crops)]
        try:
            if self._tar and member:
                file = self._tar.extractfile(member)
                data = file.read() if file else b""
            else:
                data = (self.path / name).read_bytes()
            rgb = decode(data).rgb
        except (OSError, tarfile.TarError, InputError) as error:
            raise SettingError(f"crop {name} of {self.path} cannot be used: {error}") from error
        parts = name.split("/")
        label = parts[-3] if len(parts) > 2 else (parts[0] if len(parts) == 2 else "")
        return Scene(label, parts[-2] if len(parts) > 1 else "", pad_crop(rgb))
