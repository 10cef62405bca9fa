"""The box around positions, also across the antimeridian."""

from __future__ import annotations

from pi10_classifier.export.positions import bounds


def test_a_box() -> None:
    assert bounds([(49.0, -8.0), (50.5, -9.0), (48.0, -8.5)]) == (-9.0, -8.0, 48.0, 50.5)
    assert bounds([(49.0, -8.0)]) == (-8.0, -8.0, 49.0, 49.0)


def test_across_the_antimeridian_west_is_greater_than_east() -> None:
    assert bounds([(10.0, 179.0), (11.0, -178.0), (12.0, 178.5)]) == (178.5, -178.0, 10.0, 12.0)
