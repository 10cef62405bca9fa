import numpy as np
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.training.data.camera_look import Device, invert, to_grey, to_resolution


def colours(height=20, width=30):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_grey_is_the_luminance_in_every_channel():
    grey = to_grey(colours())
    expected = colours().astype(float) @ [0.299, 0.587, 0.114]
    for channel in range(3):
        np.testing.assert_allclose(grey[..., channel], expected, atol=1)


def test_invert_turns_over_and_back():
    image = colours()
    assert (invert(image).astype(int) + image == 255).all()
    np.testing.assert_array_equal(invert(invert(image)), image)


@pytest.mark.parametrize(
    ("from_um", "to_um", "shape"), [(5, 10, (10, 15)), (10, 10, (20, 30)), (20, 10, (40, 60))]
)
def test_resolution_keeps_the_field_and_the_mean(from_um, to_um, shape):
    image = np.repeat(np.repeat(colours(10, 15), 2, axis=0), 2, axis=1)
    changed = to_resolution(image, from_um, to_um)
    assert changed.shape == (*shape, 3)
    assert changed.mean() == pytest.approx(image.mean(), abs=0.6)
    if shape == (10, 15):
        np.testing.assert_array_equal(changed, colours(10, 15))


def test_one_pixel_is_left_at_the_least():
    assert to_resolution(colours(), 1, 1000).shape == (1, 1, 3)


@pytest.mark.parametrize("sizes", [(0, 10), (10, -1), (float("nan"), 10), (10_000, 1)])
def test_unusable_pixel_sizes_are_refused(sizes):
    with pytest.raises(SettingError):
        to_resolution(colours(), *sizes)


def test_a_device_does_all_in_turn():
    image = np.repeat(np.repeat(colours(10, 15), 2, axis=0), 2, axis=1)
    changed = Device(grey=True, inverted=True, um_per_px=5).apply(image)
    np.testing.assert_array_equal(changed, invert(to_grey(colours(10, 15))))
    assert Device().apply(image) is image


def test_a_look_is_read_from_words():
    assert Device.parse("grey, inverted,5.2") == Device(grey=True, inverted=True, um_per_px=5.2)
    assert Device.parse("20") == Device(um_per_px=20)


@pytest.mark.parametrize("text", ["gray", "", "grey,-1", "nan", "grey,,inverted"])
def test_a_look_that_is_none_is_refused(text):
    with pytest.raises(SettingError):
        Device.parse(text)
