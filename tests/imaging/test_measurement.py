"""Sizes of drawn shapes, robustness of the silhouette, agreement with scikit-image."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import GROUND, PARTICLE, box, ellipse, invert, photograph, smooth, soil, unchanged

from pi10_classifier.imaging import segmentation
from pi10_classifier.imaging.measurement import MAX_SIDE_PX, MIN_AREA_PX, border_grey, measure
from pi10_classifier.imaging.preprocess import Grey
from pi10_classifier.imaging.segmentation import MARGIN, Mosaic, outlines

GENUINE = sorted((Path(__file__).parents[3] / "shared" / "data" / "pi10-examples").glob("*.tif"))


LOOKS = [unchanged, soil, invert, lambda rgb: soil(invert(rgb))]
LOOK_NAMES = ["clean", "soiled", "light-on-dark", "light-on-dark-soiled"]


@pytest.mark.parametrize("look", LOOKS, ids=LOOK_NAMES)
class TestKnownShapes:
    @pytest.mark.parametrize("radius", [8, 15, 30])
    def test_disc(self, look, radius):
        m = measure(look(photograph(smooth(ellipse(80, 100, radius, radius)))))
        wide = 0.35 / radius  # a third of a pixel
        assert m.area_um2 == pytest.approx(100 * math.pi * radius**2, rel=0.02 + 2 * wide)
        for value in (m.esd_um, m.major_um, m.minor_um, m.feret_um):
            assert value == pytest.approx(20 * radius, rel=0.01 + 2 * wide)
        assert m.perimeter_um == pytest.approx(20 * math.pi * radius, rel=0.02 + 2 * wide)
        assert m.solidity > 0.93
        assert not m.touches_border

    @pytest.mark.parametrize("angle", [0, 20, 45, 90, 130])
    def test_ellipse_at_any_angle(self, look, angle):
        m = measure(look(photograph(smooth(ellipse(90, 90, 36, 12, angle)))))
        assert m.area_um2 == pytest.approx(100 * math.pi * 36 * 12, rel=0.05)
        assert m.major_um == pytest.approx(720, rel=0.03)
        assert m.minor_um == pytest.approx(240, rel=0.06)
        assert m.eccentricity == pytest.approx(math.sqrt(1 - 1 / 9), abs=0.01)
        assert m.feret_um == pytest.approx(720, rel=0.03)

    @pytest.mark.parametrize("angle", [0, 30, 45, 75])
    def test_rectangle_at_any_angle(self, look, angle):
        m = measure(look(photograph(smooth(box(96, 96, 35, 10, angle)))))
        assert m.area_um2 == pytest.approx(100 * 70 * 20, rel=0.05)
        assert m.feret_um == pytest.approx(10 * math.hypot(70, 20), rel=0.03)
        assert m.major_um == pytest.approx(4 / math.sqrt(12) * 700, rel=0.04)
        assert m.perimeter_um == pytest.approx(1800, rel=0.06)


SHAPES = {
    "disc": ellipse(60, 70, 20, 20),
    "ellipse": ellipse(80, 90, 35, 9, 33),
    "box": box(80, 90, 30, 12),
    "turned box": box(90, 90, 35, 8, 28),
    "small": ellipse(24, 24, 4, 4),
    "cut": ellipse(60, 60, 20, 14, 10, centre=(5, 30)),
}


class TestAgainstScikitImage:
    @pytest.mark.parametrize("name", SHAPES)
    def test_hard_edged_shapes(self, name):
        skimage = pytest.importorskip("skimage.measure")
        mask = SHAPES[name]()
        (truth,) = skimage.regionprops(mask.astype(np.uint8))
        m = measure(photograph(mask), um_per_px=1)
        assert m.area_um2 == truth.area_filled
        assert m.esd_um == pytest.approx(truth.equivalent_diameter_area)
        assert m.major_um == pytest.approx(truth.axis_major_length, rel=1e-6)
        assert m.minor_um == pytest.approx(truth.axis_minor_length, rel=1e-6)
        assert m.eccentricity == pytest.approx(truth.eccentricity, abs=1e-6)
        if truth.eccentricity > 0.1:  # a disc has no axis
            angle = math.degrees(truth.orientation) + 90  # scikit-image: from columns
            assert abs((m.angle_deg - angle + 90) % 180 - 90) < 1e-6
        assert 0 <= m.angle_deg < 180
        assert m.feret_um == pytest.approx(truth.feret_diameter_max, abs=0.8)
        assert m.solidity == pytest.approx(truth.solidity, abs=0.03)
        if name != "cut":  # scikit-image leaves out the frame's side
            crofton = skimage.perimeter_crofton(np.pad(mask, 2), 4)
            assert m.perimeter_um == pytest.approx(crofton, rel=0.07)

    @pytest.mark.skipif(not GENUINE, reason="the genuine images are not at hand")
    def test_genuine_silhouettes(self):
        skimage = pytest.importorskip("skimage.measure")
        for path in GENUINE:
            rgb = read(path)
            mask = np.zeros(rgb.shape[:2], np.uint8)
            greys = [Grey.of(rgb)]
            outline = outlines(Mosaic.of(greys), greys)[0] - MARGIN
            cv2.fillPoly(mask, [outline], (1,))
            (truth,) = skimage.regionprops(mask)
            m = measure(rgb, um_per_px=1)
            assert m.area_um2 == truth.area
            assert m.major_um == pytest.approx(truth.axis_major_length, rel=1e-6)
            assert m.minor_um == pytest.approx(truth.axis_minor_length, rel=1e-6)
            assert m.feret_um == pytest.approx(truth.feret_diameter_max, abs=0.8)
            assert m.solidity == pytest.approx(truth.solidity, abs=0.03)
            crofton = skimage.perimeter_crofton(np.pad(mask, 2), 4)
            assert m.perimeter_um == pytest.approx(crofton, rel=0.07)


class TestSilhouette:
    def test_holes_belong_to_the_particle(self):
        ring = ellipse(80, 80, 30, 30)() & ~ellipse(80, 80, 20, 20)()
        assert measure(photograph(ring)).area_um2 == 100 * ellipse(80, 80, 30, 30)().sum()

    def test_the_largest_of_several_pieces_counts(self):
        large = ellipse(80, 120, 20, 20, centre=(40, 30))()
        small = ellipse(80, 120, 10, 10, centre=(40, 90))()
        assert measure(photograph(large | small)) == measure(photograph(large))

    def test_an_antenna_broken_by_two_pixels_is_kept(self):
        particle = ellipse(60, 140, 18, 18, centre=(30, 25))()
        particle[29:32, 40:120] = True
        particle[:, 80:82] = False
        assert measure(photograph(particle)).feret_um == pytest.approx(1130, abs=15)

    def test_a_pale_antenna_is_kept(self):
        cover = ellipse(60, 140, 18, 18, centre=(30, 25))().astype(float)
        cover[29:33, 40:120] = 0.5
        assert measure(photograph(cover)).feret_um == pytest.approx(1130, abs=15)

    def test_specks_alone_are_nothing(self):
        mask = np.zeros((60, 60), bool)
        mask[10:12, 10:14] = mask[40:44, 30:32] = True
        assert mask.sum() == 2 * (MIN_AREA_PX - 1)
        assert measure(photograph(mask)) is None

    def test_pale_particle_on_a_striped_ground(self):
        cover = smooth(ellipse(80, 100, 20, 20)) * 0.25
        rgb = soil(photograph(cover))
        assert measure(rgb).esd_um == pytest.approx(400, rel=0.06)

    def test_a_stripe_is_no_particle(self):
        rgb = photograph(np.zeros((60, 60)))
        rgb[:, 20:26] -= 20
        assert measure(rgb) is None

    def test_a_cut_particle_says_so(self):
        for turn in range(4):
            half = np.rot90(ellipse(80, 80, 20, 20, centre=(-0.5, 40))(), turn)
            m = measure(photograph(half))
            assert m.touches_border
            assert m.area_um2 == pytest.approx(100 * math.pi * 200, rel=0.02)

    def test_a_particle_may_hold_nearly_half_of_the_border(self):
        mask = np.zeros((60, 80), bool)
        mask[:, :34] = True
        m = measure(soil(photograph(mask)))
        assert m.area_um2 == pytest.approx(100 * 60 * 34, rel=0.02)

    def test_one_pixel_from_the_frame_is_not_cut(self):
        mask = np.zeros((40, 40), bool)
        mask[1:30, 1:20] = True
        m = measure(photograph(mask))
        assert not m.touches_border
        assert m.area_um2 == 100 * 29 * 19

    def test_particle_from_top_to_bottom(self):
        mask = np.zeros((40, 80), bool)
        mask[:, 35:45] = True
        assert measure(photograph(mask)).area_um2 == 100 * 400

    def test_mean_grey_is_the_luma_as_recorded(self):
        rgb = photograph(ellipse(60, 60, 15, 15)())
        rgb[rgb[..., 0] == PARTICLE] = (200, 40, 10)
        assert measure(rgb).mean_grey == pytest.approx(0.299 * 200 + 0.587 * 40 + 1.14, abs=0.6)
        light = photograph(ellipse(60, 60, 15, 15)(), ground=5, particle=180)
        assert measure(light).mean_grey == 180

    @pytest.mark.parametrize("ground", [250, 5])
    @pytest.mark.parametrize("width", [120, 1100])
    def test_grey_sd_is_that_of_the_luma_inside(self, ground, width):
        """Dark on light and light on dark; wide images are summed in another type."""
        mask = ellipse(120, width, 40, 30)()
        rgb = photograph(mask, ground=ground, particle=120)
        rgb[mask] += np.random.default_rng(0).integers(0, 20, (mask.sum(), 1), np.uint8)
        m = measure(rgb)
        assert m.area_um2 == 100 * mask.sum()
        inside = Grey.of(rgb).pixels[mask].astype(float)
        assert m.grey_sd == pytest.approx(inside.std(), abs=1e-9)
        assert m.mean_grey == pytest.approx(inside.mean(), abs=1e-9)

    def test_the_angle_is_counterclockwise_from_the_rows(self):
        line = np.zeros((60, 60), bool)
        for i in range(10, 50):
            line[59 - i, i - 2 : i + 2] = True  # from the bottom left to the top right
        assert measure(photograph(line)).angle_deg == pytest.approx(45, abs=1)
        assert measure(photograph(line[:, ::-1])).angle_deg == pytest.approx(135, abs=1)


class TestOddImages:
    @pytest.mark.parametrize("level", [0, 120, 255])
    def test_blank_is_nothing(self, level):
        assert measure(np.full((80, 100, 3), level, np.uint8)) is None

    @pytest.mark.parametrize("seed", range(5))
    def test_noise_is_nothing(self, seed):
        noise = np.random.default_rng(seed).normal(200, 12, (80, 100, 1)).repeat(3, axis=2)
        assert measure(noise.clip(0, 255).astype(np.uint8)) is None

    @pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (1, 3 * MAX_SIDE_PX)])
    def test_too_small_to_have_an_inside(self, shape):
        rgb = np.full((*shape, 3), GROUND, np.uint8)
        rgb[shape[0] // 2, shape[1] // 2] = PARTICLE
        assert measure(rgb) is None

    def test_eight_by_eight(self):
        mask = np.zeros((8, 8), bool)
        mask[2:6, 2:6] = True
        m = measure(photograph(mask))
        assert (m.area_um2, m.solidity) == (1600, 1)

    def test_single_pixel_line(self):
        mask = np.zeros((9, 60), bool)
        mask[4, 10:50] = True
        m = measure(photograph(mask))
        assert (m.feret_um, m.minor_um, m.area_um2) == (400, 0, 4000)

    @pytest.mark.parametrize(("factor", "side"), [(1, 2000), (2, 3001), (3, 6000)])
    def test_big_images_are_reduced_only_above_the_limit(self, factor, side):
        assert -(-side // MAX_SIDE_PX) == factor
        rgb = np.full((side // 2, side, 3), GROUND, np.uint8)
        a, b = side // 3, side // 9
        cv2.ellipse(rgb, (side // 2, side // 4), (a, b), 10, 0, 360, (PARTICLE,) * 3, -1)
        m = measure(rgb)
        assert m.area_um2 == pytest.approx(100 * math.pi * a * b, rel=0.01)
        assert m.feret_um == pytest.approx(20 * a, rel=0.01)

    def test_pixel_size_scales_everything(self):
        rgb = photograph(smooth(ellipse(80, 100, 20, 12, 30)))
        one, two = measure(rgb, um_per_px=1), measure(rgb, um_per_px=2)
        assert two.area_um2 == pytest.approx(4 * one.area_um2)
        for name in ("esd_um", "major_um", "minor_um", "feret_um", "perimeter_um"):
            assert getattr(two, name) == pytest.approx(2 * getattr(one, name))
        assert two.solidity == one.solidity

    def test_read_only_and_strided_arrays(self):
        rgb = photograph(ellipse(60, 60, 15, 15)())
        frozen = rgb.copy()
        frozen.flags.writeable = False
        assert measure(frozen) == measure(rgb[:, ::-1]) == measure(rgb)

    def test_the_image_is_left_as_it_was(self):
        rgb = invert(photograph(ellipse(60, 60, 15, 15)()))
        before = rgb.copy()
        measure(rgb)
        assert (rgb == before).all()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(1, 255))
    def test_any_image_gives_nothing_or_sane_numbers(self, height, width, seed, span):
        random = np.random.default_rng(seed)
        rgb = random.integers(0, span, (height, width, 3), np.uint8, endpoint=True)
        m = measure(rgb, um_per_px=1)
        if m is None:
            return
        assert MIN_AREA_PX <= m.area_um2 <= height * width
        assert 0 < m.solidity <= 1
        assert 0 <= m.minor_um <= m.major_um
        assert m.esd_um <= m.feret_um + 1 <= math.hypot(height, width) + 2
        assert 0 <= m.mean_grey <= 255
        assert 0 <= m.grey_sd <= 128 and 0 <= m.eccentricity <= 1 and 0 <= m.angle_deg <= 180
        assert type(m.touches_border) is bool


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


# Largest length, measured by hand on the enlarged image from tip to tip, µm.
BY_HAND = {
    "pia1.2023-08-03.1420+N00001454.tif": 490,
    "pia1.2023-08-03.1420+N00001373.tif": 1750,
    "pia1.2023-08-03.0840+N00002127.tif": 1110,
    "pia1.2023-08-03.0830+N00008616.tif": 545,
    "pia1.2023-08-03.1420+N00001485.tif": 1300,
}


@pytest.mark.skipif(not GENUINE, reason="the genuine images are not at hand")
class TestGenuineImages:
    @pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.stem[-8:])
    def test_is_a_copepod_inside_its_frame(self, path):
        rgb = read(path)
        m = measure(rgb)
        assert 250 < m.esd_um < 1000
        assert m.esd_um < m.major_um < m.feret_um < 10 * math.hypot(*rgb.shape[:2])
        assert 0.4 < m.solidity < 0.95
        assert m.mean_grey < 100
        assert not m.touches_border

    @pytest.mark.parametrize("name", BY_HAND)
    def test_length_is_that_measured_by_hand(self, name):
        m = measure(read(GENUINE[0].with_name(name)))
        assert m.feret_um == pytest.approx(BY_HAND[name], rel=0.04)

    def test_edge_level_moves_the_area_by_no_more_than_documented(self, monkeypatch):
        ratios = []
        for path in GENUINE:
            areas = []
            for edge in (0.55, 0.75, 1.1):  # about a quarter, a third and a half of the contrast
                monkeypatch.setattr(segmentation, "_EDGE", edge)
                areas.append(measure(read(path)).area_um2)
            ratios += [areas[0] / areas[1], areas[2] / areas[1]]
        assert 0.85 < np.percentile(ratios, 10) < np.percentile(ratios, 90) < 1.15


def png(rgb):
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


class TestObjects:
    def test_specks_and_a_broken_antenna_are_none(self):
        rgb = photograph(ellipse(90, 120, 30, 12)())
        rgb[8:12, 8:12] = rgb[80:83, 100:104] = 40  # specks
        rgb[20:23, 20:45] = 40  # as long as the least particle, but thin
        assert measure(rgb).objects == 1

    def test_pieces_of_a_quarter_are(self):
        both = (
            ellipse(90, 160, 24, 16, centre=(45, 40))()
            | ellipse(90, 160, 14, 11, centre=(45, 110))()
        )
        assert measure(photograph(both)).objects == 2
        assert measure(photograph(both), um_per_px=5).objects == 1  # the smaller is 140 µm


class TestGroundGrey:
    def test_is_the_mean_of_the_edge_alone(self):
        rgb = np.full((40, 60, 3), 20, np.uint8)
        rgb[[0, -1]] = rgb[:, [0, -1]] = 140
        rgb[0] = 240  # 60 of 196 pixels
        assert border_grey(png(rgb)) == pytest.approx(140 + 100 * 60 / 196)

    def test_is_unknown_of_what_is_no_image(self):
        assert border_grey(b"") is None
        assert border_grey(b"hits,misses") is None
        assert border_grey(png(np.zeros((9, 9, 3), np.uint8))[:40]) is None
