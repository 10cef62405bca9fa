"""Labelled images that a linear package of 16 patches tells apart, most of the time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import support

SIDE = 40
# where each class is dark: rows, columns, of 40
PLACES = {
    "copepod": ((8, 32), (6, 14)),
    "detritus": ((8, 32), (26, 34)),
    "noncopepod": ((6, 14), (8, 32)),
    "krill": ((26, 34), (8, 32)),
}


def mark(group: str, rng: np.random.Generator, doubt: float = 0.0) -> np.ndarray:
    """RGB (40, 40, 3): a dark bar where the class has it, and up to ``doubt`` of the others."""
    grey = np.full((SIDE, SIDE), 245.0)
    for name, (rows, columns) in PLACES.items():
        depth = 150.0 if name == group else 150 * doubt * rng.random()
        grey[slice(*rows), slice(*columns)] -= depth
    grey += rng.normal(0, 3, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def tree(folder: Path, counts: dict[str, int], doubt: float = 0.0, seed: int = 0) -> Path:
    """A folder of PNGs, a folder a class."""
    rng = np.random.default_rng(seed)
    for group, count in counts.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(folder / group / f"{number:04d}.png"), mark(group, rng, doubt))
    return folder


def weights(classes: tuple[str, ...] = support.CLASSES, strength: float = 0.02) -> np.ndarray:
    """(16, classes): each class likes its own bar dark."""
    w = np.zeros((16, len(classes)), np.float32)
    scale = support.SIZE / SIDE / 8
    for i, name in enumerate(classes):
        rows, columns = PLACES[name]
        patches = np.zeros((4, 4))
        top, bottom = (int(v * scale) for v in rows)
        left, right = (int(v * scale) for v in columns)
        patches[top : bottom + 1, left : right + 1] = -strength
        w[:, i] = patches.ravel()
    return w - w.mean(axis=0)


def package(folder: Path, strength: float = 0.02, **fields: object) -> Path:
    """A package of the three classes; ``strength`` sets how sure it is."""
    model = support.tiny_model(weights(strength=strength))
    return support.write_package(folder, model, **fields)
