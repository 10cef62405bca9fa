"""Draws animals other than copepods."""

from __future__ import annotations

import numpy as np

from pi10_classifier.simulate.pen import Pen, curve, ellipse, spindle


def chaetognath(pen: Pen) -> None:
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


def medusa(pen: Pen) -> None:
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


def bell(pen: Pen) -> None:
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


def appendicularian(pen: Pen) -> None:
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


def pluteus(pen: Pen) -> None:
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


def doliolid(pen: Pen) -> None:
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


def polychaete(pen: Pen) -> None:
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


def fish_larva(pen: Pen) -> None:
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


def cladoceran(pen: Pen) -> None:
    """A round carapace, a head with one great eye, branched second antennae."""
    rng = pen.rng
    tall = rng.uniform(0.22, 0.34)
    pen.fill(ellipse(0.12, 0, 0.33, tall, rng.normal(0, 0.2)), rng.uniform(90, 235), texture=0.4)
    pen.fill(ellipse(-0.28, -0.05, 0.2, rng.uniform(0.13, 0.18)), rng.uniform(120, 235))
    pen.fill(ellipse(-0.38, -0.04, 0.08, 0.075), 252)
    for fan in (-0.5, 0.0, 0.5):
        arm = curve((-0.2, 0.1), 1.9 + fan, rng.uniform(0.25, 0.5), rng.normal(0, 0.5))
        pen.limb(arm, 0.05, 0.015, rng.uniform(120, 220))
    for _ in range(int(rng.integers(3, 9))):
        leg = curve((rng.uniform(-0.15, 0.2), tall * 0.7), rng.uniform(1.0, 2.2), 0.2, 0.3)
        pen.limb(leg, 0.03, 0.01, rng.uniform(100, 200))
    if rng.random() < 0.5:
        spine = curve((0.42, 0.02), rng.normal(0, 0.4), rng.uniform(0.1, 0.4), 0.0)
        pen.limb(spine, 0.05, 0.01, rng.uniform(140, 230))


def nauplius(pen: Pen) -> None:
    """A shield with three pairs of bristled limbs."""
    rng = pen.rng
    t = np.linspace(0, 1, 24)
    axis = np.stack((-0.3 + 0.65 * t, np.zeros(24)), axis=1)
    half = rng.uniform(0.18, 0.27) * np.sin(np.pi * (0.1 + 0.88 * t)) ** 0.7 * (1.1 - 0.6 * t)
    for at, fan in ((-0.24, -0.7), (-0.14, 0.0), (-0.04, 0.6)):
        for side in (-1.0, 1.0):
            long = rng.uniform(0.22, 0.42)
            limb = curve((at, side * 0.1), side * (1.6 + fan), long, side * rng.normal(0.3, 0.3))
            pen.limb(limb, 0.06, 0.025, rng.uniform(120, 220))
            for spread in (-0.4, 0.0, 0.4):
                hair = curve(limb[-1], side * (1.6 + fan) + spread, 0.14, 0.0)
                pen.limb(hair, 0.008, 0.004, 140)
    if rng.random() < 0.6:
        for side in (-1.0, 1.0):
            pen.limb(curve((0.3, side * 0.03), side * 0.25, 0.25, 0.0), 0.03, 0.01, 190)
    pen.fill(spindle(axis, half), rng.uniform(130, 245), texture=0.4)


def decapod(pen: Pen) -> None:
    """A larva of crab or shrimp: carapace, stalked eye, long jointed abdomen, legs."""
    rng = pen.rng
    bend = rng.uniform(-0.3, 1.9)
    abdomen = curve((-0.02, 0.0), 0.1, rng.uniform(0.5, 0.75), bend)
    widths = np.linspace(rng.uniform(0.055, 0.09), 0.03, len(abdomen))
    pen.fill(spindle(abdomen, widths), rng.uniform(150, 235), texture=0.35)
    for at in range(2, len(abdomen) - 2, 2):
        leg = curve(abdomen[at], 1.2 + bend * at / len(abdomen), rng.uniform(0.05, 0.14), 0.3)
        pen.limb(leg, 0.025, 0.01, rng.uniform(110, 200))
    for fan in (-0.5, -0.2, 0.2, 0.5):
        pen.limb(curve(abdomen[-1], bend + fan, 0.14, 0.0), 0.05, 0.03, rng.uniform(90, 190))
    tall = rng.uniform(0.12, 0.2)
    carapace = ellipse(-0.24, 0.0, rng.uniform(0.22, 0.28), tall)
    pen.fill(carapace, rng.uniform(140, 240), texture=0.45)
    pen.fill(ellipse(-0.4, -0.03, 0.06, 0.055), 253)
    for _ in range(int(rng.integers(5, 12))):
        leg = curve(
            (rng.uniform(-0.4, -0.08), tall * 0.6), rng.uniform(0.7, 2.4),
            rng.uniform(0.15, 0.5), rng.normal(0.3, 0.5),
        )  # fmt: skip
        pen.limb(leg, 0.03, 0.012, rng.uniform(110, 220))
    for angle, chance in ((np.pi, 0.6), (-1.5, 0.35)):  # rostral and dorsal spines
        if rng.random() < chance:
            root = (-0.44, -0.02) if angle > 0 else (-0.22, -tall * 0.8)
            pen.limb(curve(root, angle, rng.uniform(0.12, 0.5), 0.1), 0.035, 0.01, 200)


def amphipod(pen: Pen) -> None:
    """A bent, jointed body with a large eye, and legs all along its inner side."""
    rng = pen.rng
    axis = curve((-0.4, 0.0), -0.5, 1.0, rng.uniform(0.6, 1.9), 24)
    axis -= axis.mean(axis=0)
    t = np.linspace(0, 1, 24)
    half = rng.uniform(0.09, 0.15) * np.clip(1.15 - t, 0.25, 1) * np.clip(0.6 + 3 * t, 0, 1)
    for at in range(3, 22, 2):
        ahead = float(np.arctan2(*(axis[at + 1] - axis[at - 1])[::-1]))
        long = rng.uniform(0.12, 0.34) * (1.2 - t[at])
        path = curve(axis[at], ahead + rng.uniform(1.1, 1.9), half[at] + long, rng.normal(0.3, 0.4))
        pen.limb(path, 0.04, 0.015, rng.uniform(120, 220))
    for lift in (-0.2, 0.3):
        feeler = curve(axis[0], np.pi - 0.5 + lift, rng.uniform(0.1, 0.5), 0.5)
        pen.limb(feeler, 0.03, 0.012, 190)
    body = spindle(axis, half)
    pen.fill(body, rng.uniform(150, 240), texture=0.4)
    for at in range(4, 22, 3):
        pen.line(np.stack((body[at], body[-1 - at])), 0.008, 90)
    pen.fill(ellipse(axis[1, 0], axis[1, 1], 0.06, 0.055), 252)


def egg(pen: Pen) -> None:
    """A clear sphere with a sharp shell; yolk or an oil drop inside."""
    rng = pen.rng
    radius = rng.uniform(0.3, 0.45)
    pen.fill(ellipse(0, 0, radius, radius), rng.uniform(15, 120), texture=0.3)
    pen.line(
        ellipse(0, 0, radius, radius), rng.uniform(0.01, 0.05), rng.uniform(160, 240), closed=True
    )
    if rng.random() < 0.7:
        x, y = rng.normal(0, radius * 0.25, 2)
        pen.fill(ellipse(x, y, radius * 0.5, radius * 0.45), rng.uniform(60, 200), texture=0.4)
    if rng.random() < 0.4:
        pen.fill(ellipse(radius * 0.3, radius * 0.2, 0.06, 0.06), 210)


def veliger(pen: Pen) -> None:
    """A larval shell, either coiled or of two valves."""
    rng = pen.rng
    if rng.random() < 0.5:  # bivalve: a D with a straight hinge
        t = np.linspace(0, np.pi, 32)
        shell = np.stack((0.42 * np.cos(t), rng.uniform(0.45, 0.6) * np.sin(t) - 0.2), axis=1)
        pen.fill(shell, rng.uniform(110, 235), texture=0.3)
        pen.line(shell, 0.02, 220, closed=True)
        return
    for k in range(int(rng.integers(2, 4))):
        size = 0.36 * 0.62**k
        pen.fill(ellipse(-0.1 + 0.28 * k, 0.12 * k, size, size * 0.9), rng.uniform(130, 240))
        pen.line(ellipse(-0.1 + 0.28 * k, 0.12 * k, size, size * 0.9), 0.015, 230, closed=True)
    for side in (-1.0, 1.0):
        lobe = ellipse(-0.42, side * 0.16, 0.2, 0.12, side * 0.6)
        pen.fill(lobe, rng.uniform(40, 110), texture=0.4)
