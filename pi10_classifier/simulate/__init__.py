"""Simulated cruises in the instrument's own format, for demonstrations, tests and benchmarks.

``simulate_cruise`` writes whole cruises of drawn particles or of real crops,
``write_bin`` one bin, ``encode_tiff`` one image as the instrument does.
Equal seeds give equal bytes (on one platform and one version of NumPy and OpenCV).
"""

from pi10_classifier.simulate.bins import TRUTH_COLUMNS, BinPlan, write_bin
from pi10_classifier.simulate.cruise import CRUISE, TRUTH, plan_cruise, simulate_cruise
from pi10_classifier.simulate.encode import Place, encode_tiff
from pi10_classifier.simulate.scene import PROPORTIONS, Crops, Scene, Studio

__all__ = [
    "CRUISE",
    "PROPORTIONS",
    "TRUTH",
    "TRUTH_COLUMNS",
    "BinPlan",
    "Crops",
    "Place",
    "Scene",
    "Studio",
    "encode_tiff",
    "plan_cruise",
    "simulate_cruise",
    "write_bin",
]
