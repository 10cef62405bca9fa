"""Drawings of the report."""

from xml.etree import ElementTree

import numpy as np
import pytest

from pi10_classifier.report import figures
from pi10_classifier.report.figures import unwrap


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([10.0], [10.0]),
        ([-4.0, -3.0, -3.5], [-4.0, -3.0, -3.5]),
        ([-1.0, 1.0, 359.0], [-1.0, 1.0, -1.0]),
        ([179.0, 180.0, -179.0], [179.0, 180.0, 181.0]),
    ],
)
def test_longitudes_are_cut_where_the_track_is_not(given, expected):
    assert unwrap(np.array(given)) == pytest.approx(expected)


TRACKS = {
    "point": ([50.0], [-4.0]),
    "antimeridian": ([10.0, 10.5, 11.0], [179.5, -179.9, -179.2]),
    "pole": ([89.9, 90.0], [0.0, 180.0]),
    "equator": ([0.0, 0.0], [-170.0, 170.0]),
    "around-the-world": (np.linspace(-60, 60, 5000), np.linspace(-179, 179, 5000)),
}


@pytest.mark.parametrize("track", TRACKS)
def test_any_track_can_be_drawn(track):
    north, east = (np.array(x) for x in TRACKS[track])
    minutes = np.arange(len(north)) * 1000
    drawing = figures.track_figure(minutes, north, east, np.full(len(north), np.nan))
    assert drawing.count(b"<use ") < 1.2 * figures.MAX_TRACK_POINTS
    ElementTree.fromstring(drawing)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1000.0, "10³"), (1.0, "10⁰"), (1e-12, "10⁻¹²"), (200.0, "200"), (0.05, "0.05"), (0.0, "")],
)
def test_powers_of_ten_are_text_that_needs_no_mathematics(value: float, text: str) -> None:
    assert figures._power(value) == text
