"""Draws copepods."""

from __future__ import annotations

import numpy as np

from pi10_classifier.simulate.pen import Pen, curve, ellipse, spindle


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
