"""The Pi-10's optics: its flow cell, three lines of a colour line-scan camera, and exposure.

The constants follow 17 genuine images of 2023 (Cefas, ``cefas-pi-10-edge-ai``): their comments say
what was measured. Specks, sharpening and blur were fitted until drawn images had those figures
(``python -m benchmarks.drawn``). Each effect can be left out, to find out what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.simulate.pen import U8, Rng

F32 = NDArray[np.float32]

STEP = 8  # widths and heights are multiples of 8 px
LEAST = (40, 64)  # smallest crop, rows and columns: half of all crops are 64 px wide
MARGIN = (4.0, 7.0)  # px from the particle to the crop's edge, before rounding up to 8 px

# Red lies 1.5 px below green, blue 1.25 px above, in 17 of 17: lines of a trilinear sensor.
LINE_SHIFTS = (1.5, 0.0, -1.25)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as in ``imaging.preprocess``

_WHITE = 0.45  # share of images whose ground is overexposed: 8 of 17
_GROUND = (0.925, 0.035)  # mean and sd of the others' ground, of 255: 215 to 246 levels
_SURPLUS = (1.0, 1.2)  # overexposed ground before clipping, so that 41 to 88 % of it is white
_BLACK = 6 / 255  # no pixel is darker than 5, in 17 of 17: the black level
_HAZE = (0.02, 0.11)  # stray light in the darkest 5 % of a particle: 6 to 30 levels, one 46
# median px of the blur of small and large particles, and its log-sd: edges rise in 1.5 to 4.75 px,
# in 2 to 2.5 px in the three largest images, in about 3.5 px in those below 130 px
_EDGE_SIGMA = (1.7, 1.1, 0.28)
_LARGE = 130  # px; diameter from which a particle is sharp
_FAR_SIGMA = 1.5  # times more blur for what is small and out of focus
_LEAST_SIGMA = 0.25  # px; a narrower blur changes nothing
_SMALL = 36  # px; a particle below that is often out of focus
_SHARPEN = (0.9, 2.6)  # unsharp mask's strength: rims are 5 to 25 levels lighter than the ground
_MOTTLE = 0.030  # sd of the ground's noise shared by the colours: 7 to 8 of 255
_MOTTLE_SIGMA = (1.2, 0.85)  # px along and across a line: correlation 0.58 and 0.42 at 1 px
_WHITE_NOISE = 0.022  # sd of each colour's own noise: 5 to 6 of 255
_COLUMN = 0.007  # sd from column to column: 1.2 to 2 of 255
_BROAD = 0.012  # sd of slow changes along a line: 2.5 to 4 of 255
_STRIPED = 0.25  # share of images with tinted stripes: 4 of 17
_SHEET = 640  # px; side of a sheet of specks
_SHEETS = 4
_FINER = 3  # specks are drawn so many times larger
# per 1,000 px: (number, radius px, depth of 255, blur px); 25 to 30 specks are deeper than 12
# levels, 5 deeper than 50, 1 to 2 deeper than 100; the median speck has 2 px, one in ten 14 px
_SPECKS = (
    (8.0, (0.3, 0.7), (25, 80), 0.5),
    (0.5, (0.4, 1.0), (70, 190), 0.5),
    (0.25, (1.2, 2.2), (40, 160), 0.8),
    (0.15, (1.8, 3.2), (30, 100), 1.3),
)
_RINGS = (1.4, (0.8, 2.2), (25, 100), 0.5)  # grains and bubbles beyond the focus


@dataclass(frozen=True, slots=True)
class Effects:
    """The parts of the Pi-10's look, each on or off.

    margins: crops as the instrument cuts them, at least 64 x 40 px. defocus: blur, more for what
    is small. fringes: colours some lines apart. specks, stripes, noise: of the ground. sharpening:
    light rims. exposure: grounds that are white or grey, black levels. steps: 12 bits cut to 8.
    """

    margins: bool = True
    defocus: bool = True
    fringes: bool = True
    specks: bool = True
    stripes: bool = True
    noise: bool = True
    sharpening: bool = True
    exposure: bool = True
    steps: bool = True

    @classmethod
    def without(cls, names: Iterable[str]) -> Self:
        """All effects but those named. Raises SettingError for a name that is none of them."""
        known = [entry.name for entry in fields(cls)]
        left_out = [name.strip() for name in names if name.strip()]
        for name in left_out:
            if name not in known:
                raise SettingError(
                    f"{name!r} is no effect of the Pi-10's look; the effects are {', '.join(known)}"
                )
        return cls(**{name: name not in left_out for name in known})


EFFECTS = tuple(entry.name for entry in fields(Effects))
ALL = Effects()
NONE = Effects.without(EFFECTS)


def round_up(size: float, least: int = STEP) -> int:
    """The next multiple of 8 px, at least ``least``."""
    return max(least, -int(-size // STEP) * STEP)


def framing(height: float, width: float, rng: Rng) -> tuple[int, int, float, float]:
    """A crop for a particle of (height, width) px: rows, columns, and the particle's top, left.

    The particle's box is widened by the margins; what the next multiple of 8 px or the least size
    adds lies on both sides.
    """
    top, bottom, left, right = rng.uniform(*MARGIN, 4)
    rows = round_up(height + top + bottom, LEAST[0])
    columns = round_up(width + left + right, LEAST[1])
    spare_rows = (rows - height - top - bottom) / 2
    spare_columns = (columns - width - left - right) / 2
    return rows, columns, top + spare_rows, left + spare_columns


def defocus(light: F32, extent: float, rng: Rng, already: float = 0.0) -> F32:
    """Blur (H, W) light as the lens does.

    extent: the particle's diameter, px. already: sigma of the blur that the image has, px.
    """
    small, large, spread = _EDGE_SIGMA
    sigma = float(np.interp(extent, (_SMALL, _LARGE), (small, large)))
    sigma *= float(np.exp(rng.normal(0, spread)))
    if extent < _SMALL and rng.random() < 0.5:
        sigma *= rng.uniform(1.0, _FAR_SIGMA)
    more = np.sqrt(max(0.0, sigma**2 - already**2))
    if more < _LEAST_SIGMA:
        return light
    return np.asarray(cv2.GaussianBlur(light, (0, 0), min(more, 3.0)), np.float32)


def specks(rows: int, columns: int, rng: Rng) -> F32:
    """Transmission (rows, columns), 0..1, of what floats or sticks before the particle."""
    sheet = _sheet(int(rng.integers(_SHEETS)))
    if rows > _SHEET or columns > _SHEET:
        sheet = np.tile(sheet, (-(-rows // _SHEET), -(-columns // _SHEET)))
    top = int(rng.integers(sheet.shape[0] - rows + 1))
    left = int(rng.integers(sheet.shape[1] - columns + 1))
    part = sheet[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        part = part[::-1]
    return part[:, ::-1] if rng.random() < 0.5 else part


@lru_cache(_SHEETS)
def _sheet(number: int) -> F32:
    """A large piece of speckled water, drawn once: transmission (640, 640) float32."""
    rng = np.random.default_rng((1718, number))
    light = np.ones((_SHEET, _SHEET), np.float32)
    side, unit = _SHEET * _FINER, _FINER * 16  # cv2 counts in sixteenths of a pixel
    for kind in (*_SPECKS, _RINGS):
        density, radii, depths, blur = kind
        fine: U8 = np.zeros((side, side), np.uint8)
        for _ in range(round(density * _SHEET * _SHEET / 1000)):
            centre = (int(rng.integers(side * 16)), int(rng.integers(side * 16)))
            radius, depth = rng.uniform(*radii), float(rng.uniform(*depths))
            axes = (int(radius * unit), int(radius * rng.uniform(0.5, 1.0) * unit))
            if kind is _RINGS:
                axes = (axes[0], int(radius * rng.uniform(0.8, 1.0) * unit))
            thick = _FINER if kind is _RINGS else cv2.FILLED
            turn = rng.uniform(0, 180)
            cv2.ellipse(fine, centre, axes, turn, 0, 360, (depth,), thick, cv2.LINE_AA, 4)
        shade = cv2.resize(fine, (_SHEET, _SHEET), interpolation=cv2.INTER_AREA)
        # lines are sharper across than along
        soft = cv2.GaussianBlur(shade.astype(np.float32), (0, 0), blur * 1.2, sigmaY=blur * 0.6)
        if kind is _RINGS:
            soft = soft - 0.35 * cv2.GaussianBlur(soft, (0, 0), 1.5)  # a lens: its core is light
        light *= 1 - soft / np.float32(255)
    light.flags.writeable = False  # it is shared by all images
    return light


def _stripes(columns: int, rng: Rng) -> F32:
    """Gain (3, columns) of the sensor's columns: fine, broad, and at times tinted stripes."""
    knots = rng.normal(0, _BROAD, (1, max(2, columns // 24)))
    broad = cv2.resize(knots, (columns, 1), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, _COLUMN, (1, columns)) + rng.normal(0, _COLUMN / 2, (3, columns))
    gain = 1 + np.asarray(broad, np.float64) + fine
    if rng.random() < _STRIPED:
        for _ in range(int(rng.geometric(0.4))):
            at, wide = int(rng.integers(columns)), int(rng.integers(1, 5))
            depth = rng.uniform(0.02, 0.14)
            # yellow: blue is missing; cyan: red; grey: all three
            tint = ((0.0, 0.1, 1.0), (1.0, 0.3, 0.1), (1.0, 1.0, 1.0))[int(rng.integers(3))]
            gain[:, at : at + wide] -= depth * np.array(tint)[:, None]
    return np.asarray(gain, np.float32)


def _shifted(plane: F32, rows: float) -> F32:
    """(H, W) moved down by a fraction of rows; the edge is repeated."""
    if not rows:
        return plane
    matrix = np.array(((1.0, 0.0, 0.0), (0.0, 1.0, rows)))
    size = (plane.shape[1], plane.shape[0])
    moved = cv2.warpAffine(plane, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def _noise(rows: int, columns: int, planes: int, rng: Rng, own: float) -> F32:
    """Noise (planes, rows, columns): mottles shared by the colours, plus each colour's own."""
    mottle = rng.standard_normal((rows, columns), np.float32)
    along, across = _MOTTLE_SIGMA
    mottle = np.asarray(cv2.GaussianBlur(mottle, (0, 0), along, sigmaY=across), np.float32)
    # blurring lowers the sd of white noise by 2 sqrt(pi sigma sigma')
    mottle *= np.float32(_MOTTLE * 2 * np.sqrt(np.pi * along * across))
    white = rng.standard_normal((planes, rows, columns), np.float32) * np.float32(own)
    if planes == 1:
        return mottle[None] + white
    moved = np.stack([_shifted(mottle, shift) for shift in LINE_SHIFTS])
    return np.asarray(moved + white, np.float32)


def expose(planes: F32, rng: Rng, effects: Effects = ALL) -> U8:
    """Light -> what the camera writes: (3, H, W) -> RGB (H, W, 3), (1, H, W) -> grey (H, W), uint8.

    planes: light that passes, 1 is clear water, float32. One plane stands for all three colours:
    it becomes the grey level that ``imaging.preprocess`` would make of the coloured image, for
    shifting and noise are linear; clipping, which is not, is done once on the sum.
    """
    colours, rows, columns = planes.shape
    grey = colours == 1
    light = np.array(planes, np.float32)
    if effects.fringes and grey:
        parts = (w * _shifted(light[0], s) for w, s in zip(LUMA, LINE_SHIFTS, strict=True))
        light = np.asarray(sum(parts), np.float32)[None]
    elif effects.fringes:
        light = np.stack([_shifted(p, s) for p, s in zip(light, LINE_SHIFTS, strict=True)])
    if effects.sharpening:
        strength = rng.uniform(*_SHARPEN)
        soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 0.9, sigmaY=1.5) for plane in light])
        light += np.float32(strength) * (light - soft)
    if effects.stripes:
        gain = _stripes(columns, rng)
        light *= (np.array(LUMA, np.float32) @ gain)[None, None] if grey else gain[:, None]
    if effects.noise:
        own = _WHITE_NOISE * (float(np.linalg.norm(LUMA)) if grey else 1.0)
        # shot noise: less where less light falls
        light += _noise(rows, columns, colours, rng, own) * np.sqrt(np.clip(light, 0.05, 1))
    if effects.exposure:
        level = rng.normal(*_GROUND) if rng.random() > _WHITE else rng.uniform(*_SURPLUS)
        haze = _BLACK + max(0.0, rng.uniform(*_HAZE) - _BLACK)
        light = (haze + (1 - haze) * light) * np.float32(level)
        np.maximum(light, np.float32(_BLACK), out=light)
    if effects.steps:  # the sensor counts in 12 bits; the instrument drops the last four
        codes = np.clip(light * 4095, 0, 4095).astype(np.uint16) >> 4
    else:
        codes = np.clip(light * 255 + 0.5, 0, 255)
    image = codes.astype(np.uint8)
    return image[0] if grey else np.ascontiguousarray(image.transpose(1, 2, 0))
