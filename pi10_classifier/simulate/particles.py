"""The three classes as drawings: kinds of copepods, other animals and detritus."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pi10_classifier.simulate.pen import Particle, Pen, Rng, curve, ellipse, rough, spindle


def _copepod(pen: Pen, *, slim: bool) -> None:
    rng = pen.rng
    lateral = rng.random() < (0.3 if slim else 0.6)
    fat = rng.uniform(0.07, 0.12) if slim else rng.uniform(0.13, 0.21)
    tail = rng.uniform(0.32, 0.42) if slim else rng.uniform(0.16, 0.28)
    joint = 0.5 - tail
    t = np.linspace(0.0, 1.0, 32)
    x = -0.5 + t * (joint + 0.5)
    hunch = rng.uniform(-0.25, 0.25) * (1.0 if lateral else 0.3)
    axis = np.stack((x, hunch * (x**2 - 0.1)), axis=1)
    widths = fat * np.sin(np.pi * t ** rng.uniform(0.62, 0.85)) ** rng.uniform(0.5, 0.75)
    widths[-1] = 0.035
    rear = (float(axis[-1, 0]), float(axis[-1, 1]))
    # First antennae: as long as the body, straight out or swept back.
    long = rng.uniform(0.4, 0.75) if slim else rng.uniform(0.35, 0.95)
    open_angle = rng.uniform(0.9, 1.9)
    for side in (1.0,) if lateral and rng.random() < 0.6 else (-1.0, 1.0):
        path = curve(
            (-0.42, side * fat * 0.5),
            side * (open_angle + rng.normal(0, 0.15)),
            long * rng.uniform(0.9, 1.05),
            side * rng.normal(-0.2, 0.5),
        )
        pen.limb(path, 0.045, 0.022, rng.uniform(175, 235))
        if rng.random() < 0.4:
            for point in path[4::3]:
                hair = curve((point[0], point[1]), side * rng.uniform(1.2, 2.4), 0.08, 0.2)
                pen.limb(hair, 0.008, 0.004, 120)
    # Swimming legs and mouthparts: below in side view, both sides near the head from above.
    for _ in range(int(rng.integers(6, 16))) if lateral else range(int(rng.integers(2, 7))):
        side = 1.0 if lateral else float(rng.choice((-1.0, 1.0)))
        at = rng.uniform(-0.4, joint - 0.08) if lateral else rng.uniform(-0.42, -0.1)
        half = float(np.interp(at, x, widths))
        path = curve(
            (at, side * half * 0.7 + float(np.interp(at, x, axis[:, 1]))),
            side * rng.uniform(0.5, 1.7),
            rng.uniform(0.08, 0.26),
            side * rng.normal(-0.4, 0.6),
        )
        pen.limb(path, rng.uniform(0.02, 0.05), 0.012, rng.uniform(140, 235))
    # Urosome, furca and its setae.
    droop = rng.normal(0, 0.25)
    stem = curve(rear, droop, tail * 0.72, rng.normal(0, 0.2))
    pen.limb(stem, 0.085 if not slim else 0.06, 0.055, 240)
    end = (float(stem[-1, 0]), float(stem[-1, 1]))
    for side in (-1.0, 1.0):
        branch = curve(end, droop + side * rng.uniform(0.1, 0.4), tail * 0.3, 0.0)
        pen.limb(branch, 0.035, 0.02, 225)
        for _ in range(3):
            seta = curve(branch[-1], droop + side * rng.uniform(0.0, 0.6), 0.1, 0.1)
            pen.limb(seta, 0.008, 0.005, 130)
    if rng.random() < (0.25 if slim else 0.06):
        for side in (-1.0, 1.0):
            pen.fill(ellipse(joint + 0.1, side * 0.09, 0.11, 0.045, side * 0.3), 225, texture=0.3)
    pen.fill(spindle(axis, widths), rng.uniform(228, 252), texture=rng.uniform(0.0, 0.25))


def _calanoid(pen: Pen) -> None:
    _copepod(pen, slim=False)


def _cyclopoid(pen: Pen) -> None:
    _copepod(pen, slim=True)


def _chaetognath(pen: Pen) -> None:
    rng = pen.rng
    axis = curve((-0.5, 0.0), rng.normal(0, 0.1), 1.0, rng.normal(0, 0.25))
    axis[:, 1] -= axis[:, 1].mean()
    half = rng.uniform(0.022, 0.04)
    t = np.linspace(0, 1, len(axis))
    widths = half * np.clip(np.sin(np.pi * (0.08 + 0.9 * t)) * 1.6, 0.35, 1.0)
    outline = spindle(axis, widths)
    pen.fill(outline, rng.uniform(50, 140), texture=0.5)
    pen.line(outline, 0.008, 190, closed=True)
    pen.line(axis[2:11], 0.012, rng.uniform(140, 230))
    pen.fill(ellipse(axis[0, 0], axis[0, 1], 0.04, half * 1.25), 235)
    for side in (-1.0, 1.0):
        pen.limb(curve(axis[0], side * 2.6, 0.05, -side), 0.01, 0.004, 200)
        for at, size in ((8, 0.11), (11, 0.09)):
            fin = ellipse(axis[at, 0], axis[at, 1] + side * half * 0.9, size, half * 0.8)
            pen.fill(fin, 55)
    pen.fill(ellipse(axis[-1, 0], axis[-1, 1], 0.07, half * 1.7), 110, texture=0.4)


def _medusa(pen: Pen) -> None:
    """A bell seen from above: ring, radial canals, gonads, tentacles all round."""
    rng = pen.rng
    squash = rng.uniform(0.55, 1.0)
    radius = rng.uniform(0.22, 0.42)
    pen.fill(ellipse(0, 0, radius, radius * squash), rng.uniform(15, 60), texture=0.4)
    for share, width in ((1.0, 0.025), (rng.uniform(0.8, 0.9), 0.01)):
        rim = ellipse(0, 0, radius * share, radius * squash * share)
        pen.line(rim, width, rng.uniform(150, 225), closed=True)
    spokes = int(rng.choice((4, 4, 6, 8, 16)))
    for turn in np.arange(spokes) * 2 * np.pi / spokes + rng.uniform(0, 1):
        tip = np.array((np.cos(turn), np.sin(turn) * squash)) * radius
        pen.line(np.stack((tip * 0.1, tip * 0.95)), 0.012, 150)
        if spokes <= 8:
            pen.fill(ellipse(tip[0] * 0.6, tip[1] * 0.6, 0.035, 0.025), 190)
    pen.fill(ellipse(0, 0, 0.05, 0.05 * squash), 200)
    tentacles = int(rng.integers(8, 30))
    long = rng.uniform(0.1, 0.55)
    for turn in np.arange(tentacles) * 2 * np.pi / tentacles:
        root = (radius * np.cos(turn), radius * squash * np.sin(turn))
        path = curve(
            root, turn + rng.normal(0, 0.15), long * rng.uniform(0.6, 1), rng.normal(0, 0.5)
        )
        pen.limb(path, 0.014, 0.008, rng.uniform(120, 190))


def _bell(pen: Pen) -> None:
    """A bell from the side: thick dome, manubrium, tentacles hanging from the rim."""
    rng = pen.rng
    wide, tall = rng.uniform(0.2, 0.34), rng.uniform(0.25, 0.42)
    t = np.linspace(np.pi, 2 * np.pi, 24)
    dome = np.stack((wide * np.cos(t), tall * np.sin(t)), axis=1)
    pen.fill(dome, rng.uniform(30, 90), texture=0.4)
    pen.line(dome, 0.035, rng.uniform(150, 220))
    inner = dome * (0.72, 0.66)
    pen.line(inner, 0.014, 150)
    pen.line(np.array(((-wide, 0.0), (wide, 0.0))), 0.016, 170)
    pen.limb(np.array(((0.0, -tall * 0.65), (0.0, tall * 0.05))), 0.09, 0.05, 210)
    for at in np.linspace(-wide, wide, int(rng.integers(3, 11))):
        path = curve(
            (at, 0.0),
            np.pi / 2 + at + rng.normal(0, 0.15),
            rng.uniform(0.3, 0.8),
            rng.normal(0, 0.7),
        )
        pen.limb(path, 0.018, 0.008, rng.uniform(130, 200))
        pen.fill(ellipse(at, 0.0, 0.02, 0.02), 220)


def _appendicularian(pen: Pen) -> None:
    rng = pen.rng
    pen.fill(ellipse(-0.36, 0, 0.13, rng.uniform(0.08, 0.11)), rng.uniform(150, 225), texture=0.35)
    pen.fill(ellipse(-0.3, 0.02, 0.06, 0.05), 225)
    t = np.linspace(0, 1, 40)
    wave = rng.uniform(0.06, 0.17)
    turns = rng.uniform(0.6, 1.6) * 2 * np.pi
    tail = np.stack((-0.28 + 0.85 * t, wave * np.sin(turns * t) * (0.4 + t)), axis=1)
    fin = spindle(tail, rng.uniform(0.04, 0.06) * np.clip(4.0 * (1.02 - t), 0.1, 1.0))
    pen.fill(fin, rng.uniform(70, 130), texture=0.4)
    pen.line(fin, 0.007, 140, closed=True)
    pen.line(tail, 0.026, 215)


def _pluteus(pen: Pen) -> None:
    rng = pen.rng
    arms = int(rng.choice((4, 6, 8)))
    spread = rng.uniform(0.35, 0.75)
    for angle in np.linspace(-spread, spread, arms):
        path = curve((-0.3, 0.0), angle, 0.85 * (0.75 + 0.25 * abs(angle) / spread), angle * 0.15)
        pen.limb(path, 0.09, 0.03, rng.uniform(90, 150))
        pen.line(path, 0.01, 220)
    body = np.array(((-0.5, 0.0), (-0.1, 0.28 * spread), (0.02, 0.0), (-0.1, -0.28 * spread)))
    pen.fill(body, 170, texture=0.4)
    pen.fill(ellipse(-0.18, 0, 0.1, 0.07), 190)


def _doliolid(pen: Pen) -> None:
    rng = pen.rng
    t = np.linspace(0, 1, 32)
    axis = np.stack((-0.42 + 0.84 * t, np.zeros(32)), axis=1)
    half = rng.uniform(0.2, 0.3) * np.clip(np.sin(np.pi * (0.12 + 0.76 * t)), 0.3, 1)
    barrel = spindle(axis, half)
    pen.fill(barrel, rng.uniform(25, 70), texture=0.4)
    pen.line(barrel, 0.016, rng.uniform(110, 190), closed=True)
    for at in np.linspace(2, 29, int(rng.integers(5, 9))).astype(int):
        ring = ellipse(axis[at, 0], 0, 0.025, float(half[at]))
        pen.line(ring, 0.008, rng.uniform(60, 130), closed=True)
    pen.fill(ellipse(0.14, 0.08, 0.12, 0.07, 0.5), rng.uniform(190, 235), texture=0.3)


def _polychaete(pen: Pen) -> None:
    rng = pen.rng
    axis = curve((-0.5, 0.0), rng.normal(0, 0.5), 1.0, rng.normal(0, 1.2))
    axis -= axis.mean(axis=0)
    half = rng.uniform(0.045, 0.07)
    t = np.linspace(0, 1, len(axis))
    for at in range(1, len(axis) - 1):
        ahead = np.arctan2(*(axis[at + 1] - axis[at - 1])[::-1])
        for side in (-1.0, 1.0):
            for fan in (-0.2, 0.15):
                path = curve(axis[at], ahead + side * (1.5 + fan), half * 2.4, 0.0)
                pen.limb(path, 0.03, 0.008, rng.uniform(130, 210))
    pen.fill(spindle(axis, half * np.clip(1.15 - t, 0.25, 1)), rng.uniform(180, 240), texture=0.4)
    pen.fill(ellipse(axis[0, 0], axis[0, 1], 0.06, half * 1.1), 240)


def _fish_larva(pen: Pen) -> None:
    rng = pen.rng
    axis = curve((-0.5, 0.0), rng.normal(0, 0.1), 1.0, rng.normal(0, 0.35))
    axis[:, 1] -= axis[:, 1].mean()
    t = np.linspace(0, 1, len(axis))
    half = 0.075 * np.clip(1.1 - t, 0.18, 1) ** 1.2 * np.clip(t * 9 + 0.3, 0, 1)
    pen.fill(spindle(axis, half * 1.6), 35)
    pen.fill(spindle(axis, half), rng.uniform(110, 190), texture=0.5)
    pen.line(axis, 0.01, 200)
    pen.fill(ellipse(axis[4, 0], axis[4, 1] + 0.02, 0.11, 0.05), 190, texture=0.3)
    pen.fill(ellipse(axis[1, 0] + 0.01, axis[1, 1] - 0.01, 0.038, 0.036), 252)
    pen.fill(spindle(axis[-3:], np.array((0.01, 0.05, 0.075))), 110, texture=0.4)


def _aggregate(pen: Pen) -> None:
    rng = pen.rng
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.normal(0, 0.16, 2)
        blob = ellipse(x, y, rng.uniform(0.08, 0.25), rng.uniform(0.06, 0.18), rng.uniform(0, 3))
        pen.fill(rough(blob, 0.022, rng), rng.uniform(90, 210), texture=rng.uniform(0.5, 0.95))
    for _ in range(int(rng.integers(10, 60))):
        x, y = rng.normal(0, 0.19, 2)
        grain = ellipse(x, y, rng.uniform(0.01, 0.05), rng.uniform(0.01, 0.04), rng.uniform(0, 3))
        pen.fill(rough(grain, 0.006, rng), rng.uniform(60, 235))
    for _ in range(int(rng.integers(0, 6))):
        start = (rng.normal(0, 0.15), rng.normal(0, 0.15))
        path = curve(start, rng.uniform(0, 6.3), rng.uniform(0.1, 0.3), rng.normal(0, 1.5))
        pen.limb(path, 0.018, 0.008, rng.uniform(70, 160))


def _fibre(pen: Pen) -> None:
    rng = pen.rng
    path = curve((-0.5, 0.0), rng.normal(0, 0.2), 1.0, rng.normal(0, 0.7))
    path += np.stack((np.zeros(16), np.cumsum(rng.normal(0, 0.007, 16))), axis=1)
    path -= path.mean(axis=0)
    width = rng.uniform(0.014, 0.045)
    pen.limb(path, width, width * rng.uniform(0.5, 1.0), rng.uniform(110, 235))
    if rng.random() < 0.4:
        at = path[int(rng.integers(0, 16))]
        knot = ellipse(at[0], at[1], rng.uniform(0.02, 0.06), 0.025, rng.uniform(0, 3))
        pen.fill(rough(knot, 0.008, rng), rng.uniform(100, 220), texture=0.5)


def _pellet(pen: Pen) -> None:
    rng = pen.rng
    axis = curve((-0.5, 0.0), 0.0, 1.0, rng.normal(0, 0.35), 64)
    axis -= axis.mean(axis=0)
    t = np.linspace(-1, 1, len(axis))
    half = rng.uniform(0.07, 0.17) * (1 - np.abs(t) ** rng.uniform(4, 12)) ** 0.5
    half *= 1 + rng.normal(0, 0.08) * t
    pen.fill(
        rough(spindle(axis, half + 0.004), 0.003, rng),
        rng.uniform(140, 235),
        texture=rng.uniform(0.05, 0.4),
    )


def _smudge(pen: Pen) -> None:
    """A shapeless, unsharp lump."""
    rng = pen.rng
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 0.33 + sum(
        rng.normal(0, 0.09 / wave) * np.cos(wave * turn + rng.uniform(0, 6.3))
        for wave in range(1, 7)
    )
    lump = np.stack((radius * np.cos(turn), rng.uniform(0.4, 0.9) * radius * np.sin(turn)), axis=1)
    pen.fill(lump, rng.uniform(120, 230), texture=rng.uniform(0.3, 0.8))
    blurred = cv2.GaussianBlur(pen.canvas, (0, 0), pen.length * rng.uniform(0.015, 0.05))
    pen.canvas = np.asarray(blurred, np.uint8)


# label -> (kind, how it is drawn, its share of the class)
KINDS: dict[str, tuple[tuple[str, Callable[[Pen], None], float], ...]] = {
    "copepod": (("calanoid", _calanoid, 0.65), ("cyclopoid", _cyclopoid, 0.35)),
    "noncopepod": (
        ("chaetognath", _chaetognath, 0.24),
        ("medusa", _medusa, 0.16),
        ("bell", _bell, 0.12),
        ("appendicularian", _appendicularian, 0.16),
        ("pluteus", _pluteus, 0.08),
        ("doliolid", _doliolid, 0.1),
        ("polychaete", _polychaete, 0.06),
        ("fish larva", _fish_larva, 0.08),
    ),
    "detritus": (
        ("aggregate", _aggregate, 0.4),
        ("fibre", _fibre, 0.2),
        ("pellet", _pellet, 0.2),
        ("smudge", _smudge, 0.2),
    ),
}


def draw(label: str, rng: Rng, length: int = 128) -> Particle:
    """Draw one particle of class ``label``, its body ``length`` px long."""
    kinds = KINDS[label]
    pick = rng.choice(len(kinds), p=[share for _, _, share in kinds])
    kind, how, _ = kinds[int(pick)]
    pen = Pen(length, rng)
    how(pen)
    brown = rng.uniform(0.0, 0.25) if label == "detritus" else rng.uniform(0.0, 0.05)
    # The finest lines of a soft image are lost first, as in the instrument's own.
    blur = float(rng.choice((0.0, 0.004, 0.008, 0.016), p=(0.3, 0.3, 0.3, 0.1)))
    return pen.finish(label, kind, blur, (1.0 - brown, 1.0 - brown / 2, 1.0))
