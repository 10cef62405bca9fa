import numpy as np
import pytest

from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.simulate.linescan import ALL, EFFECTS, NONE, Effects
from pi10_classifier.training.data.augment_pi10 import augment, augment_drawn
from pi10_classifier.training.data.linescan_look import linescan_look

SPEC = Preprocessing(size=48)


def many(image, seed, count=100):
    return np.stack([augment(image, np.random.default_rng((seed, i)), SPEC) for i in range(count)])


def test_shape_and_dtype(copepod):
    out = augment(copepod, np.random.default_rng(0), SPEC)
    assert out.shape == (1, 48, 48)
    assert out.dtype == np.uint8


def test_same_seed_same_image_other_seed_another(copepod):
    np.testing.assert_array_equal(many(copepod, 1, 20), many(copepod, 1, 20))
    assert len({out.tobytes() for out in many(copepod, 1)}) == 100


def test_margins_vary_where_serving_trims(copepod):
    trimmed = Preprocessing(size=48, trim=0.2)
    for seed in range(20):
        one, two = (augment(copepod, np.random.default_rng(seed), s) for s in (SPEC, trimmed))
        np.testing.assert_array_equal(one, two)


def test_input_is_left_alone(copepod):
    before = copepod.copy()
    many(copepod, 2, 30)
    np.testing.assert_array_equal(copepod, before)


def test_stays_dark_on_light_with_the_particle_in_view(copepod):
    for out in many(copepod, 3, 200)[:, 0]:
        edge = np.concatenate((out[0], out[-1], out[:, 0], out[:, -1]))
        assert np.median(edge) > 200
        assert out.min() < 170


def test_half_are_near_silhouettes_and_some_have_an_uneven_ground(copepod):
    grey = np.where(copepod < 255, 150, 255).astype(np.uint8)  # a pale particle
    darkest = np.array([np.quantile(out, 0.01) for out in many(grey, 4, 200)])
    assert 0.25 < np.mean(darkest < 60) < 0.75
    uneven = [np.mean((out > 200) & (out < 255)) > 0.1 for out in many(grey, 4, 200)]
    assert 0.3 < np.mean(uneven) < 0.95


@pytest.mark.parametrize(
    "image",
    [
        np.full((1, 1), 255, np.uint8),
        np.full((40, 1), 128, np.uint8),
        np.full((30, 128), 255, np.uint8),
        np.zeros((64, 64), np.uint8),
    ],
    ids=["one pixel", "a column", "blank", "all black"],
)
def test_degenerate_images_pass(image):
    assert many(image, 5).shape == (100, 1, 48, 48)


def linescan(image, seed, effects=ALL):
    rng = np.random.default_rng(seed)
    return augment(image, rng, SPEC, 1.0, kind="linescan", effects=effects)


def test_linescan_look_is_repeatable_and_varies(copepod):
    np.testing.assert_array_equal(linescan(copepod, 1), linescan(copepod, 1))
    assert len({linescan(copepod, seed).tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("effect", sorted(set(EFFECTS) - {"steps"}))
def test_each_effect_of_the_linescan_look_can_be_left_out(copepod, effect):
    assert any(
        (linescan(copepod, seed) != linescan(copepod, seed, Effects.without([effect]))).any()
        for seed in range(3)
    )


def test_without_effects_a_drawn_particle_keeps_a_clear_ground(copepod):
    clean = augment_drawn(copepod, np.random.default_rng(0), SPEC, NONE)
    assert np.median(clean) == 255
    seen = augment_drawn(copepod, np.random.default_rng(0), SPEC)
    assert np.mean(seen == 255) < np.mean(clean == 255)
    assert seen.min() < 170


def test_linescan_particles_are_framed_as_the_instrument_cuts(copepod):
    light = copepod.astype(np.float32) / 255
    shapes = [linescan_look(light, np.random.default_rng(n)).shape for n in range(60)]
    assert all(rows % 8 == columns % 8 == 0 for rows, columns in shapes)
    assert np.mean([columns == 64 for _, columns in shapes]) > 0.3
