"""Draws particles as the Pi-10 shows them, for training; ``scene.Studio`` is for demonstrations.

Kinds and shares follow the labels of 5,682 genuine particles (Turing study group) and the look of
17 genuine images of 2023; detritus follows its description and what lies on those images' ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.simulate import animals, copepods, detritus, linescan, protists
from pi10_classifier.simulate.linescan import ALL, F32, Effects
from pi10_classifier.simulate.pen import U8, Particle, Pen, Rng
from pi10_classifier.simulate.scene import MASTER_PX, POOL, Scene

# label -> (kind, function that draws it, share of the class, median diameter in px).
# The diameters make half of all crops 64 px wide and one in ten over 104 px, as in that table.
PI10_KINDS: dict[str, tuple[tuple[str, Callable[[Pen], None], float, float], ...]] = {
    "copepod": (
        ("from the side", copepods.side, 0.6, 84),
        ("from above", copepods.above, 0.15, 80),
        ("bare", copepods.bare, 0.1, 48),
        ("compact calanoid", copepods.compact, 0.05, 66),
        ("calanoid", copepods.calanoid, 0.05, 72),
        ("cyclopoid", copepods.cyclopoid, 0.05, 60),
    ),
    "noncopepod": (
        ("radiolarian", protists.radiolarian, 0.25, 50),
        ("nauplius", animals.nauplius, 0.2, 52),
        ("pluteus", animals.pluteus, 0.11, 65),
        ("ceratium", protists.ceratium, 0.05, 62),
        ("chain", protists.chain, 0.05, 88),
        ("needle", protists.needle, 0.03, 100),
        ("bubble", protists.bubble, 0.05, 55),
        ("doliolid", animals.doliolid, 0.05, 100),
        ("veliger", animals.veliger, 0.04, 50),
        ("chaetognath", animals.chaetognath, 0.03, 212),
        ("polychaete", animals.polychaete, 0.025, 94),
        ("appendicularian", animals.appendicularian, 0.03, 112),
        ("cladoceran", animals.cladoceran, 0.025, 81),
        ("decapod larva", animals.decapod, 0.02, 138),
        ("medusa", animals.medusa, 0.01, 100),
        ("bell", animals.bell, 0.01, 100),
        ("egg", animals.egg, 0.01, 75),
        ("fish larva", animals.fish_larva, 0.005, 250),
        ("amphipod", animals.amphipod, 0.005, 150),
    ),
    "detritus": (
        ("speck", detritus.speck, 0.4, 38),
        ("rod", detritus.rod, 0.17, 52),
        ("hair", detritus.hair, 0.14, 88),
        ("clump", detritus.clump, 0.12, 52),
        ("flake", detritus.flake, 0.06, 48),
        ("aggregate", detritus.aggregate, 0.06, 69),
        ("grain", detritus.grain, 0.05, 42),
    ),
}
_SPREAD = 0.45  # log-sd of the diameters about a kind's median
_EXTENTS = (18.0, 440.0)  # px; the instrument saves particles from 180 µm on
_BLACK = 0.5  # share of copepods whose limbs are as black as the body
_NEIGHBOURS = 0.8  # foreign pieces in an image on average, many of them cut by its edge


class LineScanStudio:
    """Draws particles on the Pi-10's ground through its optics; the same seed, the same images.

    label: copepod, noncopepod or detritus. effects: parts of the look to draw. Raises SettingError
    for another label.
    """

    def __init__(self, seed: int, label: str, effects: Effects = ALL) -> None:
        if label not in PI10_KINDS:
            raise SettingError(
                f"particles of class {label!r} cannot be drawn, only those of"
                f" {', '.join(PI10_KINDS)}"
            )
        self.seed, self.label, self.effects = seed, label, effects
        self._pool: dict[tuple[str, int], tuple[Particle, float]] = {}

    def image(self, number: int, rng: Rng) -> Scene:
        """One image; ``number`` of the pool's particles is turned, scaled and laid out by rng."""
        particle, median = self._pooled(self.label, number % POOL)
        extent = median * float(np.exp(rng.normal(0, _SPREAD)))
        opacity = _laid_out(particle, float(np.clip(extent, *_EXTENTS)), self.effects, rng)
        light = self._light(particle, opacity, extent, rng)
        return Scene(self.label, particle.kind, linescan.expose(light, rng, self.effects))

    def _pooled(self, label: str, number: int) -> tuple[Particle, float]:
        """Particle ``number`` of a class and its kind's diameter; drawn on first use."""
        key = (label, number)
        if key not in self._pool:
            seed = (self.seed, 4, list(PI10_KINDS).index(label), number)
            self._pool[key] = _drawn(label, np.random.default_rng(seed))
        return self._pool[key]

    def _light(self, particle: Particle, opacity: F32, extent: float, rng: Rng) -> F32:
        """Light (3, H, W) that passes particle, neighbours and specks."""
        rows, columns = opacity.shape
        if self.effects.specks:
            pieces = [self._piece((rows, columns), rng) for _ in range(rng.poisson(_NEIGHBOURS))]
            around = linescan.specks(rows, columns, rng)
        else:
            pieces, around = [], np.ones_like(opacity)
        planes = []
        blurred = linescan.defocus(opacity, extent, rng) if self.effects.defocus else opacity
        for tint in particle.tint:
            plane = (1 - np.float32(tint) * blurred) * around
            for piece in pieces:
                plane = plane * (1 - piece)
            planes.append(plane)
        return np.asarray(np.stack(planes), np.float32)

    def _piece(self, shape: tuple[int, int], rng: Rng) -> F32:
        """Opacity of a foreign piece anywhere near the edge, often cut by it."""
        rows, columns = shape
        particle, _ = self._pooled("detritus", int(rng.integers(POOL)))
        extent = rng.uniform(6, 24)
        turned = _turned(particle, extent, rng.uniform(0, 2 * math.pi), 1.0)
        if rng.random() < 0.5:
            at = (rng.uniform(0, columns), float(rng.choice((0.0, rows))))
        else:
            at = (float(rng.choice((0.0, columns))), rng.uniform(0, rows))
        piece = _warped(particle, turned, at, (rows, columns))
        return linescan.defocus(piece, extent, rng) if self.effects.defocus else piece


def _drawn(label: str, rng: Rng) -> tuple[Particle, float]:
    kinds = PI10_KINDS[label]
    shares = np.array([share for _, _, share, _ in kinds])
    kind, draw_kind, _, median = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    pen = Pen(MASTER_PX, rng)
    draw_kind(pen)
    if label == "copepod" and rng.random() < _BLACK:
        black = cv2.convertScaleAbs(pen.canvas, alpha=rng.uniform(1.0, 1.12))
        pen.canvas = np.asarray(black, np.uint8)
    # detritus lets a little more red through, the genuine copepods' black is bluish
    if label == "detritus":
        brown = rng.uniform(0.0, 0.12)
        tint = (1.0 - brown, 1.0 - brown / 2, 1.0)
    else:
        blue = rng.uniform(0.0, 0.05)
        tint = (1.0, 1.0 - blue / 2, 1.0 - blue)
    return pen.finish(label, kind, 0.0, tint), median


def _turned(particle: Particle, extent: float, turn: float, flip: float) -> np.ndarray:
    """The matrix (2, 2) that turns, mirrors and scales a particle to ``extent`` px."""
    scale = extent / particle.extent
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    return np.array(((c, -s * flip), (s, c * flip)))


def _warped(
    particle: Particle, matrix: np.ndarray, centre: tuple[float, float], shape: tuple[int, int]
) -> F32:
    """Opacity (rows, columns), 0..1; the middle of the hull lies at ``centre`` (x, y)."""
    hull = particle.hull @ matrix.T
    offset = np.array(centre) - (hull.min(axis=0) + hull.max(axis=0)) / 2
    scale, level = math.sqrt(abs(float(np.linalg.det(matrix)))), 0
    while scale * (1 << level) < 0.6 and level + 1 < len(particle.levels):
        level += 1
    grow = 1 << level  # pixel k of a smaller level covers the pixels 2k and 2k + 1 before
    warp = np.empty((2, 3))
    warp[:, :2] = matrix * grow
    warp[:, 2] = offset + matrix @ np.full(2, (grow - 1) / 2)
    opaque: U8 = np.asarray(cv2.warpAffine(particle.levels[level], warp, shape[::-1]), np.uint8)
    return opaque.astype(np.float32) / np.float32(255)


def _laid_out(particle: Particle, extent: float, effects: Effects, rng: Rng) -> F32:
    """Opacity of the particle in a crop as the instrument cuts it."""
    flip = -1.0 if rng.random() < 0.5 else 1.0
    matrix = _turned(particle, extent, rng.uniform(0, 2 * math.pi), flip)
    hull = particle.hull @ matrix.T
    width, height = (hull.max(axis=0) - hull.min(axis=0)).tolist()
    if effects.margins:
        rows, columns, top, left = linescan.framing(height, width, rng)
    else:
        rows, columns, top, left = round(height) + 12, round(width) + 12, 6.0, 6.0
    return _warped(particle, matrix, (left + width / 2, top + height / 2), (rows, columns))
