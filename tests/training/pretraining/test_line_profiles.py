"""The extinction of each scanned line."""

import numpy as np
import pytest

from pi10_classifier.training.pretraining.line_profiles import line_profile


def bar(height=30, width=20):
    """A black bar over rows 10 to 14 and columns 5 to 11 of a ground of 200, 210 and 220."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (200, 210, 220)
    image[10:15, 5:12] = 0
    return image


def test_a_line_counts_the_pixels_whose_light_is_gone():
    profile = line_profile(bar())
    assert profile.shape == (3, 30) and profile.dtype == np.float32
    expected = np.zeros(30)
    expected[10:15] = 7
    np.testing.assert_allclose(profile, np.tile(expected, (3, 1)), atol=1e-4)


def test_colours_have_profiles_of_their_own():
    image = bar()
    image[20:22, 4:6, 1] = 105  # half of the green light
    red, green, blue = line_profile(image)
    np.testing.assert_allclose(green[20:22], 1, atol=1e-4)
    assert not red[20:22].any() and not blue[20:22].any()


def test_a_dark_ground_is_inverted():
    np.testing.assert_allclose(
        line_profile(255 - bar()).sum(1), line_profile(bar()).sum(1), rtol=1e-4
    )


def test_what_is_brighter_than_the_ground_is_negative():
    image = bar()
    image[25, 8:12] = 255
    assert line_profile(image)[0, 25] == pytest.approx(-4 * 55 / 200, abs=1e-4)


def test_rows_are_the_lines_that_are_scanned_one_after_another():
    turned = line_profile(np.ascontiguousarray(bar().transpose(1, 0, 2)))
    assert turned.shape == (3, 20)
    np.testing.assert_allclose(turned[0, 5:12], 5, atol=1e-4)
