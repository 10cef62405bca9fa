"""Draws copepods."""

from __future__ import annotations

import numpy as np

from pi10_classifier.simulate.pen import Pen, Points, curve, ellipse, rough, spindle


def _copepod(pen: Pen, *, slim: bool = False, compact: bool = False) -> None:
    """Draw a copepod.

    slim: a cyclopoid. compact: as most look after a pump, stout, with spread legs and with
    antennae that are folded or broken.
    """
    rng = pen.rng
    lateral = rng.random() < (0.3 if slim else 0.6) or compact
    fat = rng.uniform(0.07, 0.12) if slim else rng.uniform(0.13, 0.25 if compact else 0.21)
    tail = rng.uniform(0.32, 0.42) if slim else rng.uniform(0.16, 0.28)
    joint = 0.5 - tail
    t = np.linspace(0.0, 1.0, 32)
    x = -0.5 + t * (joint + 0.5)
    hunch = rng.uniform(-0.25, 0.25) * (1.0 if lateral else 0.3)
    axis = np.stack((x, hunch * (x**2 - 0.1)), axis=1)
    widths = fat * np.sin(np.pi * t ** rng.uniform(0.62, 0.85)) ** rng.uniform(0.5, 0.75)
    widths[-1] = 0.035
    rear = (float(axis[-1, 0]), float(axis[-1, 1]))
    # first antennae: up to the length of the body, straight out or swept back
    long = rng.uniform(0.4, 0.75) if slim else rng.uniform(0.35, 0.95)
    open_angle = rng.uniform(0.9, 1.9)
    sides: tuple[float, ...] = (1.0,) if lateral and rng.random() < 0.6 else (-1.0, 1.0)
    if compact:
        sides, long = () if rng.random() < 0.6 else (1.0,), rng.uniform(0.12, 0.6)
    for side in sides:
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
    # swimming legs and mouthparts: below the body in side view, else on both sides of the head
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
    for _ in range(int(rng.integers(15, 60)) if compact else 0):
        at = rng.uniform(-0.45, joint - 0.02)
        half = float(np.interp(at, x, widths))
        root = (at, half * 0.8 + float(np.interp(at, x, axis[:, 1])))
        seta = curve(root, rng.uniform(0.4, 2.3), rng.uniform(0.04, 0.2), rng.normal(0, 0.6))
        pen.limb(seta, 0.018, 0.006, rng.uniform(70, 190))
    # urosome, furca and its setae
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


def calanoid(pen: Pen) -> None:
    _copepod(pen)


def cyclopoid(pen: Pen) -> None:
    _copepod(pen, slim=True)


def compact(pen: Pen) -> None:
    _copepod(pen, compact=True)


def _pointing(pen: Pen, root: Points, angle: float, long: float, dense: float) -> None:
    """A swimming leg: a thick stem, two branches, setae fanned along them."""
    rng = pen.rng
    stem = curve(root, angle, long * 0.45, rng.normal(0, 0.2))
    pen.limb(stem, rng.uniform(0.035, 0.06), 0.03, rng.uniform(205, 250))
    for branch in (-0.16, 0.16):
        lead = angle + branch + rng.normal(0, 0.08)
        path = curve(stem[-1], lead, long * rng.uniform(0.4, 0.65), rng.normal(0.25, 0.3))
        pen.limb(path, 0.03, 0.012, rng.uniform(170, 240))
        for at in range(2, 16, 2):
            if rng.random() < dense:
                seta = curve(
                    path[at], lead + rng.normal(0, 0.4), rng.uniform(0.05, 0.17), rng.normal(0, 1)
                )
                pen.limb(seta, 0.014, 0.005, rng.uniform(90, 190))


def _antenna(pen: Pen, root: Points, angle: float, long: float, bend: float) -> None:
    """A first antenna: thick, jointed, bent; grey where it is thin."""
    rng = pen.rng
    elbow = rng.uniform(0.25, 0.8)
    near = curve(root, angle, long * elbow, bend * 0.4)
    far = curve(near[-1], angle + bend * rng.uniform(0.4, 1.2), long * (1 - elbow), bend * 0.3)
    path = np.vstack((near, far[1:]))
    thick = rng.uniform(0.042, 0.062)
    pen.limb(path, thick, thick * rng.uniform(0.5, 0.85), rng.uniform(180, 248))
    for at in range(6, len(path) - 1, 4):
        if rng.random() < 0.35:
            seta = curve(path[at], angle + bend + rng.normal(0, 1.0), 0.06, 0.2)
            pen.limb(seta, 0.008, 0.004, 110)


def _rear(pen: Pen, root: Points, angle: float) -> None:
    """The urosome's segments, the furca's two branches and their brush of setae."""
    rng = pen.rng
    long, thick = rng.uniform(0.13, 0.3), rng.uniform(0.055, 0.085)
    stem = curve(root, angle, long, rng.normal(0, 0.25), 12)
    pen.fill(spindle(stem, np.linspace(thick, thick * 0.62, 12) / 2), rng.uniform(235, 252))
    for at in (3, 6, 9):  # joints stand out a little
        x, y = stem[at]
        pen.fill(ellipse(x, y, thick * 0.3, thick * 0.5, angle), 235)
    opening = rng.uniform(0.0, 0.22)  # both branches often lie behind each other
    for side in (-1.0, 1.0):
        fork = curve(stem[-1], angle + side * opening, rng.uniform(0.05, 0.09), 0.0)
        pen.limb(fork, thick * 0.55, thick * 0.4, rng.uniform(215, 248))
        for _ in range(int(rng.integers(0, 5))):
            lead = angle + side * opening + rng.normal(0, 0.16)
            seta = curve(fork[-1], lead, rng.uniform(0.05, 0.2), rng.normal(0, 0.3))
            pen.limb(seta, 0.013, 0.005, rng.uniform(110, 200))


def side(pen: Pen) -> None:
    """A copepod from the side, as the Pi-10 mostly shows them: black, legs and setae below.

    The back is one arc, the belly is flatter; the legs sweep to the front or the rear.
    """
    rng = pen.rng
    t = np.linspace(0.0, 1.0, 40)
    joint = rng.uniform(0.18, 0.3)
    x = -0.5 + t * (joint + 0.5)
    fat = rng.uniform(0.14, 0.25)
    arch = rng.uniform(0.0, 0.14)
    middle = -arch * np.sin(np.pi * t) + rng.normal(0, 0.03) * t
    round_front, peak = rng.uniform(0.45, 0.65), rng.uniform(0.6, 1.0)
    back = middle - fat * np.sin(np.pi * t**peak) ** round_front
    belly = middle + fat * rng.uniform(0.55, 1.0) * np.sin(np.pi * t**peak) ** (round_front + 0.1)
    back[-1], belly[-1] = middle[-1] - 0.04, middle[-1] + 0.035
    # the rear segments of the prosome end in small steps of the back
    for step in (24, 29, 34):
        back[step : step + 3] += rng.uniform(0.0, 0.012)
    # the limbs' thin parts shine through: a ragged grey band below the body
    first, last = int(rng.integers(1, 12)), int(rng.integers(22, 38))
    depth = rng.uniform(0.03, 0.11) * np.sin(np.pi * np.linspace(0.1, 0.95, last - first)) ** 0.5
    upper = np.stack((x[first:last], belly[first:last] - 0.05), axis=1)
    lower = upper + np.stack((np.zeros(last - first), 0.05 + depth), axis=1)
    pen.fill(rough(np.vstack((upper, lower[::-1])), 0.016, rng), rng.uniform(130, 215), texture=0.7)
    # mouthparts: a fringe of short curved limbs below the head
    for _ in range(int(rng.integers(8, 20))):
        at = int(rng.integers(3, 18))
        limb = curve(
            (x[at], belly[at] - 0.03), rng.uniform(0.6, 2.6), rng.uniform(0.06, 0.2),
            rng.normal(0, 1.2),
        )  # fmt: skip
        pen.limb(limb, rng.uniform(0.018, 0.04), 0.008, rng.uniform(140, 240))
    sweep = rng.uniform(0.45, 2.5)
    legs, long = int(rng.integers(4, 8)), rng.uniform(0.1, 0.34)
    if rng.random() < 0.15:
        legs = 0  # folded against the body
    for at in np.linspace(13, 35, legs).astype(int) if legs else ():
        _pointing(
            pen,
            np.array((x[at], belly[at] - 0.03)),
            sweep + rng.normal(0, 0.22),
            long * rng.uniform(0.7, 1.1),
            rng.uniform(0.3, 1.0),
        )
    for _ in range(int(rng.integers(10, 70))):
        at = int(rng.integers(2, 37))
        seta = curve(
            (x[at], belly[at] - 0.02), sweep + rng.normal(0, 0.6), rng.uniform(0.05, 0.2),
            rng.normal(0, 0.8),
        )  # fmt: skip
        pen.limb(seta, 0.014, 0.006, rng.uniform(90, 210))
    antennae = int(rng.choice((0, 1, 2), p=(0.25, 0.5, 0.25)))
    for _ in range(antennae):
        root = np.array((x[2] + rng.uniform(0.0, 0.04), middle[2] + fat * rng.uniform(0.0, 0.5)))
        _antenna(
            pen, root, rng.uniform(0.2, 3.4), rng.uniform(0.18, 0.75), rng.normal(0, 0.7)
        )  # fmt: skip
    _rear(pen, np.array((x[-1] - 0.03, middle[-1])), rng.normal(0.05, 0.3))
    if rng.random() < 0.08:  # an egg sac below the urosome
        pen.fill(ellipse(joint + 0.08, middle[-1] + 0.1, 0.13, 0.07, 0.2), 235, texture=0.3)
    outline = np.vstack((np.stack((x, back), axis=1), np.stack((x, belly), axis=1)[::-1]))
    pen.fill(rough(outline, 0.003, rng), rng.uniform(242, 254), texture=rng.uniform(0.0, 0.12))


def above(pen: Pen) -> None:
    """A copepod from above, its antennae swept back or broken short."""
    rng = pen.rng
    t = np.linspace(0.0, 1.0, 40)
    joint = rng.uniform(0.16, 0.28)
    axis = np.stack((-0.5 + t * (joint + 0.5), np.zeros(40)), axis=1)
    widths = rng.uniform(0.12, 0.2) * np.sin(np.pi * t ** rng.uniform(0.6, 0.95)) ** 0.55
    widths[-1] = 0.045
    for hand in (-1.0, 1.0):
        if rng.random() < 0.85:
            root = np.array((-0.43, hand * 0.05))
            lead = hand * rng.uniform(0.35, 2.0)
            _antenna(pen, root, lead, rng.uniform(0.2, 0.85), -hand * rng.uniform(-0.2, 0.9))
    for _ in range(int(rng.integers(2, 12))):
        hand = float(rng.choice((-1.0, 1.0)))
        at = int(rng.integers(4, 36))
        limb = curve(
            (axis[at, 0], hand * widths[at] * 0.8), hand * rng.uniform(0.5, 1.9),
            rng.uniform(0.05, 0.16), hand * rng.normal(0, 0.8),
        )  # fmt: skip
        pen.limb(limb, 0.035, 0.01, rng.uniform(140, 235))
    _rear(pen, axis[-1] - (0.03, 0.0), rng.normal(0, 0.15))
    pen.fill(spindle(axis, widths), rng.uniform(244, 254), texture=rng.uniform(0.0, 0.12))


def bare(pen: Pen) -> None:
    """A small one out of focus: an egg-shaped body and a tail, all limbs lost in the blur."""
    rng = pen.rng
    t = np.linspace(0.0, 1.0, 40)
    axis = np.stack((-0.5 + 0.7 * t, rng.normal(0, 0.06) * np.sin(np.pi * t)), axis=1)
    widths = rng.uniform(0.14, 0.21) * np.sin(np.pi * t**0.75) ** 0.6
    widths[-1] = 0.05
    _rear(pen, axis[-1] - (0.03, 0.0), rng.normal(0, 0.4))
    if rng.random() < 0.4:
        _antenna(pen, axis[3], rng.uniform(0.4, 2.4), rng.uniform(0.15, 0.5), rng.normal(0, 0.5))
    pen.fill(spindle(axis, widths), 250, texture=0.05)
