"""The Pi-10's optics, each effect by itself, and the particles drawn for them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.simulate import linescan
from pi10_classifier.simulate.linescan import ALL, NONE, Effects, expose, framing
from pi10_classifier.simulate.pen import U8, Rng
from pi10_classifier.simulate.pi10 import PI10_KINDS, LineScanStudio
from pi10_classifier.simulate.scene import POOL


def with_only(*names: str) -> Effects:
    return dataclasses.replace(NONE, **dict.fromkeys(names, True))


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(4)


@pytest.fixture
def bar() -> np.ndarray:
    """Light (3, 60, 80): clear water, and a black bar from row 20 to row 39."""
    light = np.ones((3, 60, 80), np.float32)
    light[:, 20:40] = 0
    return light


class TestEffects:
    def test_names_are_left_out(self) -> None:
        assert Effects.without(["noise", " specks "]) == Effects(noise=False, specks=False)
        assert Effects.without([""]) == ALL

    def test_an_unknown_name_is_refused_with_those_that_exist(self) -> None:
        with pytest.raises(SettingError, match=r"'blur' is no effect.*margins, defocus"):
            Effects.without(["blur"])

    def test_none_changes_nothing(self, bar: np.ndarray, rng: Rng) -> None:
        image = expose(bar, rng, NONE)
        assert set(np.unique(image)) == {0, 255}
        np.testing.assert_array_equal(image[..., 1], (bar[1] * 255).astype(np.uint8))


def test_red_lies_below_green_and_blue_above(bar: np.ndarray, rng: Rng) -> None:
    image = expose(bar, rng, with_only("fringes"))[:, 40].astype(float)
    middles = [np.average(np.arange(60), weights=255 - plane) for plane in image.T]
    assert middles[0] - middles[1] == pytest.approx(1.5, abs=0.1)
    assert middles[2] - middles[1] == pytest.approx(-1.25, abs=0.1)


def test_grey_is_what_the_coloured_image_would_become(bar: np.ndarray) -> None:
    """Where nothing is clipped, one plane gives the luma of three."""
    soft = 0.3 + 0.4 * bar
    for effects in (with_only("fringes"), with_only("fringes", "stripes")):
        rgb = expose(soft, np.random.default_rng(1), effects).astype(float)
        grey = expose(soft[:1], np.random.default_rng(1), effects).astype(float)
        np.testing.assert_allclose(grey, rgb @ np.array(linescan.LUMA), atol=2)


def test_stripes_run_along_the_scan(rng: Rng) -> None:
    image = expose(np.full((3, 60, 80), 0.8, np.float32), rng, with_only("stripes"))
    assert (image == image[:1]).all()
    assert len(np.unique(image[0, :, 1])) > 3


def test_noise_is_correlated_more_along_than_across_a_line(rng: Rng) -> None:
    green = expose(np.full((3, 300, 300), 0.6, np.float32), rng, with_only("noise"))[..., 1] / 255
    along = np.corrcoef(green[:, 1:].ravel(), green[:, :-1].ravel())[0, 1]
    across = np.corrcoef(green[1:].ravel(), green[:-1].ravel())[0, 1]
    assert 0.4 < across < along < 0.75
    assert 0.015 < green.std() < 0.04


def test_specks_darken_some_of_the_water(rng: Rng) -> None:
    light = linescan.specks(200, 300, rng)
    assert light.shape == (200, 300)
    assert 0 <= light.min() < 0.5
    assert np.median(light) > 0.97
    assert linescan.specks(900, 40, rng).shape == (900, 40)


def test_sharpening_leaves_a_light_rim(bar: np.ndarray, rng: Rng) -> None:
    image = expose(0.7 * bar, rng, with_only("sharpening"))[:, 40, 1]
    assert image[17:20].max() > image[5] + 5


def test_exposure_gives_white_and_grey_grounds_and_no_true_black(bar: np.ndarray) -> None:
    images = [expose(bar, np.random.default_rng(n), with_only("exposure")) for n in range(60)]
    grounds = np.array([np.median(image[0]) for image in images])
    assert 0.25 < np.mean(grounds == 255) < 0.7
    assert grounds.min() > 190
    assert min(int(image.min()) for image in images) >= 5


def test_steps_cut_twelve_bits_to_eight(rng: Rng) -> None:
    light = np.full((3, 40, 64), 199.9 / 255, np.float32)
    assert (expose(light, rng, NONE) == 200).all()
    assert (expose(light, rng, with_only("steps")) == int(199.9 / 255 * 4095) >> 4).all()


def test_crops_are_multiples_of_8_and_at_least_64_by_40(rng: Rng) -> None:
    for height, width in ((3, 5), (33, 47), (50, 51), (200, 20), (410, 433)):
        rows, columns, top, left = framing(height, width, rng)
        assert rows % 8 == columns % 8 == 0
        assert rows >= 40
        assert columns >= 64
        assert 4 <= top <= rows - height - 4
        assert 4 <= left <= columns - width - 4
    assert framing(12, 12, rng)[:2] == (40, 64)


class TestLineScanStudio:
    def test_same_seed_same_image(self) -> None:
        one, again = (
            LineScanStudio(1, "copepod").image(3, np.random.default_rng(2)).rgb for _ in range(2)
        )
        np.testing.assert_array_equal(one, again)

    @pytest.mark.parametrize("label", sorted(PI10_KINDS))
    def test_dark_particles_on_light_grounds(self, label: str) -> None:
        studio = LineScanStudio(2, label)
        images = [studio.image(n, np.random.default_rng(n)).rgb for n in range(40)]
        contrast = [_contrast(rgb) for rgb in images]
        assert np.mean(np.array(contrast) > 60) > 0.8
        widths = np.array([rgb.shape[1] for rgb in images])
        assert 64 <= np.median(widths) <= 104

    def test_half_of_all_crops_are_64_px_wide(self) -> None:
        shares = {"copepod": 22, "noncopepod": 15, "detritus": 88}  # of Cefas' 5,682 labels
        widths = np.array(
            [
                LineScanStudio(3, label).image(n, np.random.default_rng((3, n))).rgb.shape[1]
                for label, count in shares.items()
                for n in range(count)
            ]
        )
        assert 0.4 < np.mean(widths == 64) < 0.75
        assert np.quantile(widths, 0.9) < 160

    def test_every_kind_is_drawn_with_its_share(self) -> None:
        for label, kinds in PI10_KINDS.items():
            assert sum(share for _, _, share, _ in kinds) == pytest.approx(1.0), label
            names = {
                LineScanStudio(seed, label, NONE).image(n, np.random.default_rng(n)).kind
                for seed in range(2)
                for n in range(0, POOL, 5)
            }
            common = {name for name, _, share, _ in kinds if share >= 0.1}
            assert common <= names <= {name for name, *_ in kinds}

    def test_an_unknown_class_is_refused(self) -> None:
        with pytest.raises(SettingError, match="'krill' cannot be drawn"):
            LineScanStudio(0, "krill")


def _contrast(rgb: U8) -> float:
    grey = rgb.mean(axis=2)
    return float(np.median(grey) - grey.min())
