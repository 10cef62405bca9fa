"""Image -> model input: golden looks, whatever the camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.errors import ModelError
from pi10_classifier.imaging.preprocess import Grey, Preprocessing, normalise, prepare

GREY = Preprocessing(size=32)
RGB = Preprocessing(size=32, channels=3)
RAW = Preprocessing(size=32, channels=1, level=False)
RAW_RGB = Preprocessing(size=32, channels=3, level=False)


def flat(height: int, width: int, *colour: int) -> np.ndarray:
    return np.full((height, width, 3), colour or 255, np.uint8)


def square(ground: int, figure: int, side: int = 32) -> np.ndarray:
    """A square of ``figure`` in the middle half of a ``ground``."""
    rgb = flat(side, side, ground)
    rgb[side // 4 : -side // 4, side // 4 : -side // 4] = figure
    return rgb


class TestLook:
    def test_dark_on_light_stays(self) -> None:
        out = prepare(square(255, 40), GREY)
        assert (out.shape, out.dtype) == ((1, 32, 32), np.uint8)
        assert (out[0, 0, 0], out[0, 16, 16]) == (255, 40)

    def test_light_on_dark_is_turned_over(self) -> None:
        np.testing.assert_array_equal(prepare(square(0, 215), GREY), prepare(square(255, 40), GREY))

    def test_ground_is_levelled_to_255(self) -> None:
        out = prepare(square(204, 80), GREY)
        assert (out[0, 0, 0], out[0, 16, 16]) == (255, 100)  # both times 255 / 204

    def test_brighter_than_the_ground_does_not_wrap(self) -> None:
        assert prepare(square(204, 240), GREY)[0, 16, 16] == 255

    @pytest.mark.parametrize(("ground", "first"), [(127, 255), (128, 255), (0, 255), (255, 255)])
    def test_any_ground_becomes_white(self, ground: int, first: int) -> None:
        assert (prepare(flat(20, 20, ground), GREY) == first).all()

    def test_unlevelled_keeps_its_own(self) -> None:
        out = prepare(square(30, 200), RAW)
        assert (out[0, 0, 0], out[0, 16, 16]) == (30, 200)

    def test_specks_on_the_border_do_not_move_the_ground(self) -> None:
        rgb = square(204, 80)
        rgb[0, :10] = 0
        assert Grey.of(rgb).background == 204


class TestFrame:
    def test_wide_image_lies_in_the_middle(self) -> None:
        out = prepare(flat(8, 64, 0, 0, 0), RAW)[0]
        # the padding takes the image's own border level
        assert (out == 0).all()
        out = prepare(square(255, 0, 64)[16:48], RAW)[0]
        assert (out[:8] == 255).all()
        assert (out[24:] == 255).all()
        assert (out[9:23, 9:23] == 0).all()

    def test_aspect_is_kept(self) -> None:
        rgb = flat(90, 30)
        rgb[3:87, 3:27] = 0
        dark = prepare(rgb, GREY)[0] < 128
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (height, width) == pytest.approx((30, 8.5), abs=1)
        assert columns.mean() == pytest.approx(15.5, abs=0.5)

    def test_small_image_is_enlarged(self) -> None:
        assert prepare(square(255, 0, 16), GREY)[0, 16, 16] == 0

    @pytest.mark.parametrize(
        ("height", "width"), [(1, 1), (1, 500), (500, 1), (2, 2), (3, 1000), (32, 32)]
    )
    @pytest.mark.parametrize("spec", [GREY, RGB, RAW, RAW_RGB])
    def test_any_shape(self, height: int, width: int, spec: Preprocessing) -> None:
        out = prepare(flat(height, width, 10, 200, 30), spec)
        assert out.shape == (spec.channels, 32, 32)
        assert out.flags.c_contiguous

    def test_read_only_pixels_are_left_alone(self) -> None:
        rgb = square(30, 200)
        rgb.flags.writeable = False
        prepare(rgb, GREY)
        assert rgb[0, 0, 0] == 30


class TestChannels:
    def test_colours_stay_in_their_order(self) -> None:
        out = prepare(flat(32, 32, 10, 120, 240), RAW_RGB)
        assert out[:, 5, 5].tolist() == [10, 120, 240]

    def test_grey_is_the_luma(self) -> None:
        red, green, blue = (
            int(prepare(flat(32, 32, *colour), RAW)[0, 0, 0])
            for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
        )
        assert (red, green, blue) == (76, 150, 29)


def framed(above: int, left: int, below: int, right: int, ground: int = 255) -> np.ndarray:
    """A particle 40 px wide and 20 high, grey 60 away from its ground, in a frame of these px."""
    rgb = flat(above + 20 + below, left + 40 + right, ground)
    rgb[above : above + 20, left : left + 40] = abs(ground - 195)
    return rgb


class TestTrim:
    TIGHT = Preprocessing(size=32, trim=0.2)

    def test_the_frame_of_a_camera_does_not_matter(self) -> None:
        tight = framed(8, 8, 8, 8)  # a fifth of the 40 px on each side
        for wide in (framed(8, 90, 70, 30), framed(40, 8, 8, 8), framed(60, 60, 60, 60)):
            np.testing.assert_array_equal(prepare(wide, self.TIGHT), prepare(tight, GREY))
            assert (prepare(wide, GREY) != prepare(tight, GREY)).any()

    def test_nothing_is_added_to_a_narrow_frame(self) -> None:
        for narrow in (framed(0, 0, 0, 0), framed(3, 8, 0, 2), framed(8, 8, 8, 8)):
            np.testing.assert_array_equal(prepare(narrow, self.TIGHT), prepare(narrow, GREY))

    def test_the_margin_is_a_share_of_the_longest_side(self) -> None:
        # 60 px for 40 px and a quarter of them on each side: one for one
        out = prepare(framed(50, 50, 50, 50), Preprocessing(size=60, trim=0.25))[0]
        rows, columns = (np.flatnonzero((out < 224).any(axis=axis)) for axis in (1, 0))
        assert (columns[0], columns[-1]) == (10, 49)
        assert (rows[0], rows[-1]) == (20, 39)

    def test_light_on_dark_is_cut_alike(self) -> None:
        dark = framed(60, 60, 60, 60)
        light = 255 - dark
        np.testing.assert_array_equal(prepare(light, self.TIGHT), prepare(dark, self.TIGHT))

    def test_colour_is_cut_as_grey_is(self) -> None:
        rgb = framed(60, 60, 60, 60)
        colour = prepare(rgb, Preprocessing(size=32, channels=3, trim=0.2))
        assert colour.shape == (3, 32, 32)
        np.testing.assert_array_equal(colour[1], prepare(rgb, self.TIGHT)[0])

    def test_specks_all_over_leave_the_crop_whole(self) -> None:
        rgb = framed(60, 60, 60, 60)
        rgb[0, 0] = rgb[-1, -1] = 90
        np.testing.assert_array_equal(prepare(rgb, self.TIGHT), prepare(rgb, GREY))

    @pytest.mark.parametrize(("height", "width"), [(5, 60), (60, 5), (1, 1), (0, 0)])
    def test_hairs_and_specks_are_nothing_to_frame_by(self, height: int, width: int) -> None:
        rgb = flat(100, 100)
        rgb[20 : 20 + height, 20 : 20 + width] = 0
        np.testing.assert_array_equal(prepare(rgb, self.TIGHT), prepare(rgb, GREY))

    def test_pale_is_no_particle(self) -> None:
        rgb = flat(100, 100)
        rgb[40:60, 40:60] = 225  # 224 would be one
        np.testing.assert_array_equal(prepare(rgb, self.TIGHT), prepare(rgb, GREY))
        rgb[40:60, 40:60] = 224
        assert (prepare(rgb, self.TIGHT) != prepare(rgb, GREY)).any()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_any_image_can_be_trimmed(height: int, width: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(150, 256, (height, width, 3), np.uint8)
    out = prepare(rgb, Preprocessing(size=32, trim=0.2))
    assert (out.shape, out.dtype) == ((1, 32, 32), np.uint8)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_levelled_images_touch_white(height: int, width: int, seed: int) -> None:
    """Half of the border lies at or above the ground, which becomes 255."""
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert prepare(rgb, Preprocessing(size=64))[0].max() >= 254


class TestNormalise:
    def test_without_figures_is_the_unit_scale(self) -> None:
        out = normalise(np.array([[[[0, 51, 255]]]], np.uint8), GREY)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out.ravel(), [0, 0.2, 1], rtol=1e-6)

    def test_each_channel_has_its_own(self) -> None:
        spec = Preprocessing(size=32, channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
        out = normalise(np.full((1, 3, 1, 1), 255, np.uint8), spec)
        assert out.ravel().tolist() == [1.0, 1.0, 0.0]


class TestDescription:
    def test_round_trip(self) -> None:
        spec = Preprocessing(96, 3, False, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
        assert Preprocessing.from_dict(spec.to_dict()) == spec
        trimmed = Preprocessing(96, trim=0.2)
        assert Preprocessing.from_dict(trimmed.to_dict()) == trimmed

    def test_packages_from_before_trim_describe_themselves_as_before(self) -> None:
        assert "trim" not in GREY.to_dict()
        assert Preprocessing.from_dict(GREY.to_dict()).trim == 0

    @pytest.mark.parametrize("wrong", ["0.2", True, None, [0.2]])
    def test_trim_is_a_number(self, wrong: object) -> None:
        with pytest.raises(ModelError, match="which is not a number"):
            Preprocessing.from_dict(GREY.to_dict() | {"trim": wrong})

    def test_trim_needs_a_levelled_ground(self) -> None:
        with pytest.raises(ModelError, match="trim needs level"):
            Preprocessing(32, level=False, trim=0.2)
        for wrong in (-0.1, 1.1, float("nan")):
            with pytest.raises(ModelError, match="trim is"):
                Preprocessing(32, trim=wrong)

    @pytest.mark.parametrize("name", ["size", "channels", "level"])
    def test_missing_field_is_named(self, name: str) -> None:
        fields = GREY.to_dict()
        del fields[name]
        with pytest.raises(ModelError, match=name):
            Preprocessing.from_dict(fields)


class TestGroundClip:
    CLIPPED = Preprocessing(size=32, ground_clip=8)

    def test_levels_next_to_the_ground_become_white(self) -> None:
        rgb = flat(32, 32, 255)
        for place, grey in enumerate((254, 247, 246, 100)):
            rgb[8 * place : 8 * place + 2, 10:12] = grey
        out = prepare(rgb, self.CLIPPED)[0]
        assert out[:, 10][::8].tolist() == [255, 255, 246, 100]
        assert prepare(rgb, GREY)[0][:, 10][::8].tolist() == [254, 247, 246, 100]

    @pytest.mark.parametrize("ground", [204, 30])
    def test_it_counts_from_the_levelled_ground(self, ground: int) -> None:
        rgb = square(ground, 90 if ground > 128 else 200)
        rgb[0, 10] = ground - 3 if ground > 128 else ground + 3
        assert prepare(rgb, GREY)[0, 0, 10] < 255
        assert prepare(rgb, self.CLIPPED)[0, 0, 10] == 255

    def test_colour_is_clipped_by_channel(self) -> None:
        rgb = flat(32, 32, 255)
        rgb[4, 4] = (250, 100, 246)
        spec = Preprocessing(size=32, channels=3, ground_clip=8)
        assert prepare(rgb, spec)[:, 4, 4].tolist() == [255, 100, 246]

    def test_the_description_is_read_back(self) -> None:
        assert Preprocessing.from_dict(self.CLIPPED.to_dict()) == self.CLIPPED
        assert "ground_clip" not in GREY.to_dict()
        assert Preprocessing.from_dict(GREY.to_dict()).ground_clip == 0

    @pytest.mark.parametrize("wrong", ["8", None, True, 8.0, [8], -1, 65])
    def test_wrong_values_are_refused(self, wrong: object) -> None:
        with pytest.raises(ModelError, match="ground_clip is"):
            Preprocessing.from_dict(GREY.to_dict() | {"ground_clip": wrong})

    def test_it_needs_a_levelled_ground(self) -> None:
        with pytest.raises(ModelError, match="ground_clip needs level"):
            Preprocessing(32, level=False, ground_clip=8)
