"""Land and sea on a grid of 0.05 degrees, to tell a ship from a port or a wrong position.

``benchmarks/coastline.py`` makes ``coastline.bin`` from the land mask in the package
global-land-mask (MIT), which comes from NOAA's GLOBE elevation model (public domain). The
package's own table takes over 900 MB of memory; this grid takes 170 kB. A cell is inland where it
and all its neighbours are nothing but land, so a strip of about 5 km along the shore never counts
as inland. Ports on rivers, such as London or Hamburg, do. A cell is near land where it or a
neighbour holds any land.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

DEGREES = 0.05
ROWS, COLUMNS = 3600, 7200
FILE = "coastline.bin"

Bits = NDArray[np.uint8]


@lru_cache(maxsize=1)
def _grids() -> tuple[Bits, Bits]:
    """Inland and near land: (ROWS, COLUMNS / 8) uint8, one bit per cell, from 90 N and 180 W."""
    packed = resources.files("pi10_classifier.abundance").joinpath(FILE).read_bytes()
    bits = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(2, ROWS, COLUMNS // 8)
    return bits[0], bits[1]


def is_inland(positions: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """True for positions (latitude, longitude in degrees) that are certainly on land: (n,)."""
    return _look_up(0, positions)


def is_near_land(positions: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """True for positions (latitude, longitude in degrees) with land within about 5 km: (n,)."""
    return _look_up(1, positions)


def near_land(west: int, south: int, east: int, north: int) -> NDArray[np.bool_]:
    """The cells near land within whole degrees, from north and west: (rows, columns).

    east may be over 180, for a window across the antimeridian.
    """
    per_degree = round(1 / DEGREES)
    rows = np.arange((90 - north) * per_degree, (90 - south) * per_degree)
    columns = np.arange((west + 180) * per_degree, (east + 180) * per_degree) % COLUMNS
    bits = np.unpackbits(_grids()[1][rows], axis=1)
    near: NDArray[np.bool_] = bits[:, columns].astype(np.bool_)
    return near


def _look_up(grid: int, positions: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    if not len(positions):
        return np.zeros(0, np.bool_)
    north, east = np.array(positions, np.float64).T
    row = ((90 - north) / DEGREES).astype(np.int64).clip(0, ROWS - 1)
    column = ((east + 180) % 360 / DEGREES).astype(np.int64).clip(0, COLUMNS - 1)
    byte = _grids()[grid][row, column // 8]
    is_set: NDArray[np.bool_] = byte >> (7 - column % 8) & 1 == 1
    return is_set
