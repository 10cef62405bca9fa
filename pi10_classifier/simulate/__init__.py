"""Simulated cruises in the instrument's own format, for demonstrations, tests and benchmarks.

``simulate_cruise`` writes whole cruises of drawn particles or of real crops, ``write_bin`` one
bin, and ``encode_tiff`` one image. The same seed gives the same bytes, as long as the platform and
the versions of NumPy and OpenCV are the same.
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
