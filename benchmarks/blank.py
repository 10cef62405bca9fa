"""How many images are taken to show no particle, and how many to show several.

    python -m benchmarks.blank TAR_OR_FOLDER… [--um-per-px 10]

Give images that all show one (``…/group/label/name.ext`` is counted by group): each
``no_particle`` is then a particle lost. The last line is of empty ground as the simulator draws
it, where each that is not ``no_particle`` is a false particle.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pi10_classifier.imaging.blank import is_doubtful, shows_nothing
from pi10_classifier.imaging.measurement import measure
from pi10_classifier.imaging.preprocess import U8, Grey
from pi10_classifier.simulate.scene import Crops, draw_background

GROUNDS = 600


def crops(path: Path) -> Iterator[tuple[str, U8]]:
    with Crops(path) as source:
        rng = np.random.default_rng(0)
        for number in range(len(source)):
            scene = source.image(number, rng)
            yield scene.label or "all", scene.rgb


def grounds() -> Iterator[tuple[str, U8]]:
    rng = np.random.default_rng(0)
    sheets = [draw_background(np.random.default_rng(seed)) for seed in range(8)]
    for number in range(GROUNDS):
        sheet = sheets[number % len(sheets)]
        height, width = (8 * int(n) for n in rng.integers(5, 23, 2))
        top, left = rng.integers(sheet.shape[0] - height), rng.integers(sheet.shape[1] - width)
        yield "empty ground", np.ascontiguousarray(sheet[top : top + height, left : left + width])


def tell(name: str, images: Iterator[tuple[str, U8]], um_per_px: float) -> None:
    seen: Counter[str] = Counter()
    blank: Counter[str] = Counter()
    several: Counter[str] = Counter()
    for group, rgb in images:
        size, grey = measure(rgb, um_per_px), Grey.of(rgb)
        seen[group] += 1
        nothing = is_doubtful(size, grey) and shows_nothing(grey.pixels, um_per_px)
        blank[group] += nothing
        several[group] += not nothing and size is not None and size.objects > 1
    for group, count in sorted(seen.items()):
        found = (("no_particle", blank[group]), ("objects>1", several[group]))
        told = ", ".join(f"{what} {n} ({n / count:.2%})" for what, n in found)
        print(f"{name} {group}: {count:,} images, {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*", type=Path)
    parser.add_argument("--um-per-px", type=float, default=10.0)
    chosen = parser.parse_args()
    for path in chosen.inputs:
        tell(path.name, crops(path), chosen.um_per_px)
    tell("simulated", grounds(), 10.0)


if __name__ == "__main__":
    main()
