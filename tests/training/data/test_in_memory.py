import numpy as np

from pi10_classifier.datasets import scan
from pi10_classifier.imaging.preprocess import Preprocessing, prepare
from pi10_classifier.training.data import in_memory
from pi10_classifier.training.recipe import MARGIN


def test_both_polarities_are_levelled_to_dark_on_255(scanned):
    samples = [s for s in scanned.samples if s.member.endswith("0000.png")]
    assert len(samples) == 8
    for sample, rgb in scan.read_rgb(scanned, samples):
        image = in_memory.level(rgb)
        assert max(image.shape) == in_memory.CACHE_SIDE
        assert image[0, 0] == 255, sample
        assert image.min() < 80, sample


def test_level_agrees_with_prepare(copepod):
    rgb = np.repeat(copepod[..., None], 3, axis=2)
    image = in_memory.level(rgb, side=96)
    square = prepare(rgb, Preprocessing(size=96, trim=MARGIN))[0]
    top, left = ((96 - n) // 2 for n in image.shape)
    np.testing.assert_array_equal(
        square[top : top + image.shape[0], left : left + image.shape[1]], image
    )


def test_a_wide_frame_costs_the_particle_no_pixels(copepod):
    tight = np.repeat(copepod[..., None], 3, axis=2)
    wide = np.pad(tight, ((200, 200), (200, 200), (0, 0)), constant_values=255)
    np.testing.assert_array_equal(in_memory.level(wide), in_memory.level(in_a_frame(tight)))


def in_a_frame(rgb):
    """In a frame just wider than the widest margin."""
    side = int(max(rgb.shape) * MARGIN) + 2
    return np.pad(rgb, ((side, side), (side, side), (0, 0)), constant_values=255)
