import numpy as np
import pytest

from pi10_classifier.preprocess import Preprocessing, prepare
from pi10_classifier.training import data, dataset


def test_both_polarities_are_levelled_to_dark_on_255(scanned):
    samples = [s for s in scanned.samples if s.member.endswith("0000.png")]
    assert len(samples) == 8
    for sample, rgb in data.read_rgb(scanned, samples):
        image = dataset.level(rgb)
        assert max(image.shape) == dataset.CACHE_SIDE
        aspect, original = (a.shape[0] / a.shape[1] for a in (image, rgb))
        assert aspect == pytest.approx(original, rel=0.02)
        assert image[0, 0] == 255, sample
        assert image.min() < 80, sample


def test_level_agrees_with_prepare(copepod):
    rgb = np.repeat(copepod[..., None], 3, axis=2)
    image = dataset.level(rgb, side=96)
    square = prepare(rgb, Preprocessing(size=96))[0]
    top, left = ((96 - n) // 2 for n in image.shape)
    np.testing.assert_array_equal(
        square[top : top + image.shape[0], left : left + image.shape[1]], image
    )
