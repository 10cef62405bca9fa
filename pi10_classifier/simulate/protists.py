"""Draws what Cefas counts as noncopepod beside animals: protists, phytoplankton, bubbles."""

from __future__ import annotations

import numpy as np

from pi10_classifier.simulate.pen import Pen, curve, ellipse, rough, spindle


def radiolarian(pen: Pen) -> None:
    """A dark capsule in a clear or grey halo, with spines all round."""
    rng = pen.rng
    core = rng.uniform(0.12, 0.26)
    halo = core * rng.uniform(1.2, 2.2)
    pen.fill(ellipse(0, 0, halo, halo * rng.uniform(0.85, 1)), rng.uniform(20, 130), texture=0.5)
    spines = int(rng.choice((0, 8, 12, 16, 20, 28)))
    for turn in np.arange(spines) * 2 * np.pi / max(1, spines) + rng.uniform(0, 6.3):
        lead = turn + rng.normal(0, 0.06)
        spine = curve((0.0, 0.0), lead, rng.uniform(0.35, 0.5), rng.normal(0, 0.05))
        pen.limb(spine, 0.03, 0.012, rng.uniform(130, 235))
    capsule = ellipse(0, 0, core, core * rng.uniform(0.8, 1.0), rng.uniform(0, 3))
    pen.fill(rough(capsule, 0.008, rng), rng.uniform(180, 252), texture=rng.uniform(0.0, 0.5))
    for _ in range(int(rng.integers(0, 10))):  # symbionts in the halo
        turn, far = rng.uniform(0, 6.3), rng.uniform(core, halo)
        pen.fill(ellipse(far * np.cos(turn), far * np.sin(turn), 0.025, 0.025), 180)


def ceratium(pen: Pen) -> None:
    """A small body with one long horn ahead and two that bend back."""
    rng = pen.rng
    dark = rng.uniform(190, 250)
    pen.limb(curve((0.0, 0.0), np.pi, rng.uniform(0.35, 0.6), rng.normal(0, 0.1)), 0.07, 0.02, dark)
    for hand in (-1.0, 1.0):
        horn = curve(
            (0.08, hand * 0.06), hand * rng.uniform(0.4, 1.3), rng.uniform(0.35, 0.8),
            hand * rng.uniform(0.2, 2.3),
        )  # fmt: skip
        pen.limb(horn, 0.06, 0.018, dark)
    body = np.array(((-0.1, 0.0), (0.02, 0.11), (0.13, 0.09), (0.13, -0.09), (0.02, -0.11)))
    pen.fill(rough(body, 0.01, rng), dark, texture=0.2)


def chain(pen: Pen) -> None:
    """A chain of diatoms: cells in a row, straight or coiled, with setae or without."""
    rng = pen.rng
    cells = int(rng.integers(9, 24))
    axis = curve((-0.5, 0.0), rng.normal(0, 0.2), 1.0, rng.normal(0, 0.9), cells)
    axis -= axis.mean(axis=0)
    long, tall = 0.42 / cells, rng.uniform(0.03, 0.09)
    setae = rng.random() < 0.5
    for at in range(cells):
        ahead = axis[min(at + 1, cells - 1)] - axis[max(at - 1, 0)]
        lead = float(np.arctan2(ahead[1], ahead[0]))
        cell = ellipse(axis[at, 0], axis[at, 1], long, tall, lead)
        pen.fill(cell, rng.uniform(90, 220), texture=0.4)
        pen.line(cell, 0.008, rng.uniform(150, 220), closed=True)
        for hand in (-1.0, 1.0) if setae else ():
            hair = curve(axis[at], lead + hand * rng.normal(1.5, 0.25), rng.uniform(0.15, 0.3), 0.3)
            pen.limb(hair, 0.01, 0.005, 110)


def needle(pen: Pen) -> None:
    """Rhizosolenia: a clear straight tube with pointed ends."""
    rng = pen.rng
    axis = curve((-0.5, 0.0), 0.0, 1.0, rng.normal(0, 0.06), 24)
    axis -= axis.mean(axis=0)
    half = rng.uniform(0.012, 0.04) * np.clip(np.sin(np.pi * np.linspace(0, 1, 24)) * 4, 0.1, 1)
    tube = spindle(axis, half)
    pen.fill(tube, rng.uniform(50, 170), texture=0.5)
    pen.line(tube, 0.008, rng.uniform(140, 230), closed=True)


def bubble(pen: Pen) -> None:
    """A bubble against the light: a black ring with a bright core; at times one at its side."""
    rng = pen.rng
    for place in range(int(rng.choice((1, 1, 1, 2)))):
        radius = rng.uniform(0.34, 0.46) * (0.5 if place else 1.0)
        x, y = (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)) if place else (0.0, 0.0)
        pen.fill(ellipse(x, y, radius, radius * rng.uniform(0.94, 1)), rng.uniform(238, 254))
        core = radius * rng.uniform(0.15, 0.7)
        shift = radius * rng.normal(0, 0.04, 2)
        pen.clear(ellipse(x + shift[0], y + shift[1], core, core), rng.uniform(150, 250))
