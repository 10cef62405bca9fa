"""What is measured of a particle, as numbers that a network's graph may take beside the image.

They are those of the measurement that every run makes anyway. Lengths are in pixels of the image
as recorded, so that the vector does not depend on the scale that a run is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # loading a model needs the names alone
    from pi10_classifier.imaging.measurement import Measurement

F32 = NDArray[np.float32]

_NUMBERS: Mapping[str, Callable[[Measurement, float], float]] = {
    "log_esd": lambda size, scale: math.log(size.esd_um / scale),
    "log_feret": lambda size, scale: math.log(size.feret_um / scale),
    "aspect": lambda size, scale: size.minor_um / size.major_um if size.major_um else math.nan,
    "solidity": lambda size, scale: size.solidity,
    # 1 for a disc, larger for an outline with legs or antennae
    "roughness": lambda size, scale: size.perimeter_um / (math.pi * size.esd_um),
    "mean_grey": lambda size, scale: size.mean_grey,
    "grey_sd": lambda size, scale: size.grey_sd,
}
NAMES = tuple(_NUMBERS)
CLIP = 4.0  # standard deviations, beyond which a number counts no more
_IQR = 1.349  # quartile distance of the standard normal distribution


def measured_vector(
    size: Measurement | None, um_per_px: float, names: tuple[str, ...] = NAMES
) -> F32:
    """The numbers ``names`` of one particle, float32 (M,); NaN where nothing was measured.

    log_esd, log_feret: natural logarithm of the length in px. aspect: minor over major axis, 0..1.
    solidity: 0..1. roughness: perimeter over that of the disc of equal area. mean_grey, grey_sd:
    grey levels, as in ``Measurement``.
    """
    if size is None:
        return np.full(len(names), np.nan, np.float32)
    return np.array([_NUMBERS[name](size, um_per_px) for name in names], np.float32)


def centre_and_scale(measured: F32) -> tuple[F32, F32]:
    """Median and quartile distance (M,) of numbers (N, M), as a normal distribution's mean and sd.

    Missing numbers do not count; a column without any has centre 0 and scale 1.
    """
    count = measured.shape[1]
    centre, scale = np.zeros(count), np.ones(count)
    for place, column in enumerate(measured.T.astype(np.float64)):
        known = column[np.isfinite(column)]
        if len(known):
            low, centre[place], high = np.quantile(known, (0.25, 0.5, 0.75))
            scale[place] = (high - low) / _IQR or known.std() or 1.0
    return centre.astype(np.float32), scale.astype(np.float32)
