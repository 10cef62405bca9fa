"""How like the Pi-10's are drawn images? A sheet to look at, and statistics that tell them apart.

``python -m benchmarks.drawn --sheet sheet.png``: genuine copepods (where ``--genuine`` holds
TIFFs) beside drawn ones, then drawn noncopepods and detritus. ``python -m benchmarks.drawn``:
cross-validated, how well a linear classifier on simple statistics tells genuine images from those
of ``pi10 simulate`` and from those of training's studio, as a whole and without each effect.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.realism import GROUPS, betrayed, table
from pi10_classifier.imaging.decode import decode
from pi10_classifier.simulate.linescan import EFFECTS, Effects
from pi10_classifier.simulate.pi10 import LineScanStudio
from pi10_classifier.simulate.scene import Studio

U8 = NDArray[np.uint8]

_TILE, _ZOOM, _ACROSS = 240, 3, 6


def plain(count: int, seed: int) -> list[U8]:
    """Copepods as ``pi10 simulate`` draws them."""
    studio = Studio(seed, {"copepod": 1.0})
    return [studio.image(i, np.random.default_rng((seed, i))).rgb for i in range(count)]


def drawn(label: str, count: int, seed: int, without: Sequence[str] = ()) -> list[U8]:
    """Images of training's studio, without some effects."""
    studio = LineScanStudio(seed, label, Effects.without(without))
    return [studio.image(i, np.random.default_rng((seed, i))).rgb for i in range(count)]


def tiles(images: Sequence[U8]) -> U8:
    """A grid of images, six across, each enlarged at most three times."""
    cells = []
    for rgb in images:
        zoom = min(_TILE / rgb.shape[0], _TILE / rgb.shape[1], _ZOOM)
        large = cv2.resize(rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        cell: U8 = np.full((_TILE, _TILE, 3), 128, np.uint8)
        cell[: large.shape[0], : large.shape[1]] = large
        cells.append(cell)
    cells += [np.full_like(cells[0], 128)] * (-len(cells) % _ACROSS)
    rows = [np.hstack(cells[at : at + _ACROSS]) for at in range(0, len(cells), _ACROSS)]
    return np.vstack(rows)


def sheet(genuine: Sequence[U8], seed: int) -> U8:
    """Rows of genuine images and rows of drawn copepods in turn, then the other classes."""
    copepods = drawn("copepod", 18, seed)
    parts = []
    for at in range(0, 18, _ACROSS):
        if genuine[at : at + _ACROSS]:
            parts.append(tiles(genuine[at : at + _ACROSS]))
        parts.append(tiles(copepods[at : at + _ACROSS]))
    parts += [tiles(drawn(label, 12, seed)) for label in ("noncopepod", "detritus")]
    return np.vstack(parts)


def compare(genuine: Sequence[U8], count: int, seed: int, console: Console) -> None:
    """Print each statistic's median and middle 80 %, then how well each group betrays."""
    names = [name for group in GROUPS.values() for name in group]
    simulated, ours = plain(count, seed), drawn("copepod", count, seed)
    numbers = Table(title=f"Median (10-90 %) of {len(genuine)} genuine and {count} drawn copepods")
    for head in ("statistic", "genuine", "pi10 simulate", "training's studio"):
        numbers.add_column(head)
    columns = [table(images, names) for images in (genuine, simulated, ours)]
    for place, name in enumerate(names):
        cells = []
        for column in columns:
            low, middle, high = np.percentile(column[:, place], (10, 50, 90))
            cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
        numbers.add_row(name, *cells)
    console.print(numbers)
    telling = Table(title="Told from genuine images: ROC-AUC / balanced accuracy, ten folds")
    telling.add_column("drawn by")
    for group in (*GROUPS, "all"):
        telling.add_column(group)

    def add(name: str, draw: Callable[[], list[U8]]) -> None:
        judged = betrayed(genuine, draw()).values()
        telling.add_row(name, *(f"{area:.2f} / {right:.2f}" for area, right in judged))

    add("pi10 simulate", lambda: simulated)
    add("training's studio", lambda: ours)
    for effect in EFFECTS:
        add(f"without {effect}", lambda effect=effect: drawn("copepod", count, seed, [effect]))  # type: ignore[misc]
    console.print(telling)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn", description=__doc__)
    parser.add_argument("--genuine", type=Path, default=Path("../shared/data/pi10-examples"))
    parser.add_argument("--sheet", type=Path, help="Write a sheet of images to this file.")
    parser.add_argument("--count", type=int, default=170, help="Drawn images to compare with.")
    parser.add_argument("--seed", type=int, default=77)
    options = parser.parse_args()
    console = Console(width=140)
    genuine = [decode(path.read_bytes()).rgb for path in sorted(options.genuine.glob("*.tif"))]
    if options.sheet:
        cv2.imwrite(str(options.sheet), sheet(genuine, options.seed)[..., ::-1])
        console.print(f"{options.sheet}: {len(genuine)} genuine images and 42 drawn ones")
    elif genuine:
        compare(genuine, options.count, options.seed, console)
    else:
        parser.error(f"{options.genuine} holds no .tif; name the folder of genuine images")


if __name__ == "__main__":
    main()
