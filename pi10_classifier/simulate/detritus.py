"""Draws detritus: aggregates, fibres, pellets, lumps, grains and tangles."""

from __future__ import annotations

import cv2
import numpy as np

from pi10_classifier.simulate.pen import Pen, curve, ellipse, rough, spindle


def aggregate(pen: Pen) -> None:
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


def fibre(pen: Pen) -> None:
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


def pellet(pen: Pen) -> None:
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


def smudge(pen: Pen) -> None:
    """A shapeless, blurred lump."""
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


def grain(pen: Pen) -> None:
    """An opaque, angular piece: mineral, wood, a fragment of shell."""
    rng = pen.rng
    corners = int(rng.integers(5, 11))
    turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(0.25, 0.5, corners)
    piece = np.stack(
        (radius * np.cos(turn), rng.uniform(0.35, 1.0) * radius * np.sin(turn)), axis=1
    )
    pen.fill(rough(piece, 0.012, rng), rng.uniform(170, 252), texture=rng.uniform(0.0, 0.5))


def tangle(pen: Pen) -> None:
    """Threads and crumbs wound into a ball with loose ends."""
    rng = pen.rng
    for _ in range(int(rng.integers(8, 30))):
        start = (rng.normal(0, 0.12), rng.normal(0, 0.12))
        path = curve(start, rng.uniform(0, 6.3), rng.uniform(0.15, 0.5), rng.normal(0, 3.0))
        pen.limb(path, rng.uniform(0.008, 0.03), 0.008, rng.uniform(80, 220))
    blob = ellipse(0, 0, rng.uniform(0.12, 0.28), rng.uniform(0.08, 0.22), rng.uniform(0, 3))
    pen.fill(rough(blob, 0.03, rng), rng.uniform(120, 245), texture=rng.uniform(0.2, 0.8))


def speck(pen: Pen) -> None:
    """One to three dark grains without a sharp edge: what most detritus of the Pi-10 is."""
    rng = pen.rng
    for place in range(int(rng.choice((1, 1, 1, 2, 3)))):
        x, y = rng.normal(0, 0.2, 2) * bool(place)
        size = rng.uniform(0.22, 0.45) / (1 + place)
        lump = ellipse(x, y, size, size * rng.uniform(0.45, 1.0), rng.uniform(0, 3))
        pen.fill(rough(lump, size * 0.12, rng), rng.uniform(200, 254), texture=rng.uniform(0, 0.35))
    _soften(pen, rng.uniform(0.01, 0.07))


def rod(pen: Pen) -> None:
    """A short straight piece: a faecal pellet, a splinter, a piece of a fibre."""
    rng = pen.rng
    axis = curve((-0.5, 0.0), 0.0, 1.0, rng.normal(0, 0.12), 48)
    axis -= axis.mean(axis=0)
    half = rng.uniform(0.05, 0.14) * np.linspace(1, rng.uniform(0.6, 1.0), 48)
    outline = rough(spindle(axis, half), rng.uniform(0.0, 0.012), rng)
    pen.fill(outline, rng.uniform(205, 254), texture=rng.uniform(0, 0.35))
    if rng.random() < 0.3:
        pen.fill(rough(spindle(axis[8:40], half[8:40] * 1.1), 0.01, rng), 120, texture=0.6)
    _soften(pen, rng.uniform(0.0, 0.03))


def hair(pen: Pen) -> None:
    """A long thin fibre, curved or with a kink, hardly wider than a pixel."""
    rng = pen.rng
    first = curve((-0.5, 0.0), rng.normal(0, 0.3), rng.uniform(0.3, 0.9), rng.normal(0, 1.0))
    path = first
    if rng.random() < 0.5:
        lead = rng.normal(0, 0.9)
        path = np.vstack((first, curve(first[-1], lead, 0.5, rng.normal(0, 1.2))[1:]))
    path = path - path.mean(axis=0)
    width = rng.uniform(0.028, 0.075)
    pen.limb(path, width, width * rng.uniform(0.6, 1.0), rng.uniform(200, 252))


def flake(pen: Pen) -> None:
    """A thin piece: a dark uneven rim around a clear or grey inside."""
    rng = pen.rng
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 0.36 + sum(
        rng.normal(0, 0.1 / wave) * np.cos(wave * turn + rng.uniform(0, 6.3))
        for wave in range(1, 6)
    )
    edge = np.stack((radius * np.cos(turn), rng.uniform(0.4, 0.9) * radius * np.sin(turn)), axis=1)
    pen.fill(edge, rng.uniform(40, 150), texture=0.6)
    pen.line(rough(edge, 0.01, rng), rng.uniform(0.02, 0.05), rng.uniform(150, 235), closed=True)
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.normal(0, 0.14, 2)
        pen.fill(ellipse(x, y, rng.uniform(0.02, 0.08), 0.04, rng.uniform(0, 3)), 200)


def clump(pen: Pen) -> None:
    """A dark, dense aggregate with a ragged edge and loose bits around it."""
    rng = pen.rng
    for _ in range(int(rng.integers(3, 8))):
        x, y = rng.normal(0, 0.13, 2)
        part = ellipse(x, y, rng.uniform(0.08, 0.22), rng.uniform(0.06, 0.16), rng.uniform(0, 3))
        pen.fill(rough(part, 0.025, rng), rng.uniform(180, 250), texture=rng.uniform(0.1, 0.5))
    for _ in range(int(rng.integers(4, 25))):
        x, y = rng.normal(0, 0.2, 2)
        bit = ellipse(x, y, rng.uniform(0.01, 0.04), rng.uniform(0.01, 0.03), rng.uniform(0, 3))
        pen.fill(bit, rng.uniform(100, 230))
    for _ in range(int(rng.integers(0, 4))):
        start = (rng.normal(0, 0.12), rng.normal(0, 0.12))
        path = curve(start, rng.uniform(0, 6.3), rng.uniform(0.15, 0.4), rng.normal(0, 1.5))
        pen.limb(path, 0.022, 0.01, rng.uniform(120, 210))
    _soften(pen, rng.uniform(0.005, 0.03))


def _soften(pen: Pen, share: float) -> None:
    """Blur all that was drawn by a share of the body's length."""
    if share > 0:
        blurred = cv2.GaussianBlur(pen.canvas, (0, 0), max(0.3, pen.length * share))
        pen.canvas = np.asarray(blurred, np.uint8)
