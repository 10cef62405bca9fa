"""The decoder gate: golden arrays of every kind it reads."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import broken_files
import cv2
import numpy as np
import pytest
from images import DEEP, RGB, SHORT, SIXTEEN, TWELVE, grey, png_of, saved, tiff_of
from PIL import Image as Pillow

from pi10_classifier.imaging.decode import decode
from pi10_classifier.instrument.tiff import NO_TAGS
from pi10_classifier.simulate import encode_tiff


class TestGolden:
    def test_the_instruments_own(self) -> None:
        data = encode_tiff(RGB, broken_files.WHEN, 50.25, -6.5)
        image = decode(data)
        assert np.array_equal(image.rgb, RGB)
        assert (image.tags.when, image.tags.latitude, image.flags) == (broken_files.WHEN, 50.25, ())
        assert np.array_equal(decode(memoryview(data)).rgb, RGB)

    @pytest.mark.parametrize("form", ["TIFF", "PNG"])
    @pytest.mark.parametrize(
        ("mode", "pixel", "expected"),
        [
            ("1", 1, (255, 255, 255)),
            ("1", 0, (0, 0, 0)),
            ("L", 100, (100, 100, 100)),
            ("RGB", (1, 2, 3), (1, 2, 3)),
            ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
            ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
            ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
            ("LA", (100, 0), (255, 255, 255)),
            ("LA", (0, 51), (204, 204, 204)),
        ],
    )
    def test_eight_bit_modes(self, mode: str, pixel: Any, expected: Any, form: str) -> None:
        data = saved(Pillow.new(mode, (4, 2), pixel), form)
        assert decode(data).rgb.tolist() == [[list(expected)] * 4] * 2

    @pytest.mark.parametrize("form", ["TIFF", "PNG"])
    def test_a_palette_goes_through_its_table(self, form: str) -> None:
        image = Pillow.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 210, 220])
        image.putpixel((1, 0), 1)
        assert decode(saved(image, form)).rgb.tolist() == [[[10, 20, 30], [200, 210, 220]]]

    def test_a_transparent_palette_entry_is_white(self) -> None:
        image = Pillow.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 210, 220])
        image.putpixel((1, 0), 1)
        data = saved(image, "PNG", transparency=0)
        assert decode(data).rgb.tolist() == [[[255, 255, 255], [200, 210, 220]]]

    @pytest.mark.parametrize(
        ("ink", "expected"),
        [
            ((0, 0, 0, 0), (255, 255, 255)),
            ((255, 0, 0, 0), (0, 255, 255)),
            ((0, 0, 0, 255), (0, 0, 0)),
            ((51, 102, 0, 0), (204, 153, 255)),
        ],
    )
    def test_cmyk(self, ink: Any, expected: Any) -> None:
        image = Pillow.new("CMYK", (8, 8), ink)
        assert decode(saved(image)).rgb.tolist() == [[list(expected)] * 8] * 8
        jpeg = decode(saved(image, "JPEG", quality=100)).rgb
        assert np.abs(jpeg.astype(int) - expected).max() <= 2

    def test_a_colour_jpeg(self) -> None:
        flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
        rgb = decode(saved(Pillow.fromarray(flat), "JPEG", quality=95)).rgb
        assert np.abs(rgb.astype(int) - flat).max() <= 4

    def test_white_is_zero(self) -> None:
        eight = np.array([[0, 100, 255]], np.uint8)
        assert decode(tiff_of(eight, photometric=0)).rgb.tolist() == grey([255, 155, 0])
        assert decode(tiff_of(SIXTEEN, photometric=0)).rgb.tolist() == grey([255, 99, 0, 251])
        assert decode(tiff_of(TWELVE, photometric=0)).rgb.tolist() == grey([255, 127, 0, 254])

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_sixteen_bits_are_scaled_not_clipped(self, order: str) -> None:
        assert decode(tiff_of(SIXTEEN, order=order)).rgb.tolist() == grey([0, 156, 255, 4])
        colour = np.dstack([SIXTEEN, SIXTEEN[:, ::-1], np.zeros_like(SIXTEEN)])
        assert decode(tiff_of(colour, order=order)).rgb.tolist() == [
            [[0, 4, 0], [156, 255, 0], [255, 156, 0], [4, 0, 0]]
        ]

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_twelve_bits_in_sixteen_reach_white(self, order: str) -> None:
        assert decode(tiff_of(TWELVE, order=order)).rgb.tolist() == grey([0, 128, 255, 1])

    @pytest.mark.parametrize(
        ("said", "samples", "expected"),
        [
            (4095, TWELVE, [0, 128, 255, 1]),
            (65_535, TWELVE, [0, 8, 16, 0]),
            (4095, SIXTEEN, [0, 156, 255, 4]),
            (1023, TWELVE, [0, 128, 255, 1]),
            (0, TWELVE, [0, 128, 255, 1]),
        ],
    )
    def test_max_sample_value_is_heeded_where_it_can_be(
        self, said: int, samples: np.ndarray, expected: list[int]
    ) -> None:
        data = tiff_of(samples, more=[(281, SHORT, 1, said)])
        assert decode(data).rgb.tolist() == grey(expected)

    @pytest.mark.parametrize("extra", [(), (4095,)], ids=["unsaid", "said"])
    @pytest.mark.parametrize("kind", ["grey", "colour"])
    def test_a_few_samples_over_twelve_bits_do_not_change_the_scale(
        self, kind: str, extra: tuple[int, ...]
    ) -> None:
        samples = np.full((40, 50, 3), 3700, np.uint16)
        samples[10:20, 10:30] = 600
        samples = samples[:, :, 0] if kind == "grey" else samples
        more = [(281, SHORT, 1, value) for value in extra]
        whole = decode(tiff_of(samples, more=more))
        samples.flat[0] = 60_000
        hot = decode(tiff_of(samples, more=more))
        assert whole.flags == ()
        assert hot.flags == ("over_range=1",)
        assert np.array_equal(hot.rgb.reshape(-1, 3)[1:], whole.rgb.reshape(-1, 3)[1:])
        assert hot.rgb.max() == 255

    def test_a_dark_picture_of_sixteen_bits_is_not_taken_for_twelve(self) -> None:
        samples = np.full((40, 50), 500, np.uint16)
        samples[20, 20] = 60_000
        image = decode(tiff_of(samples))
        assert image.flags == ()
        assert image.rgb.max() == 233
        assert image.rgb.min() == 2

    def test_a_maximum_that_many_samples_exceed_is_flagged(self) -> None:
        bright = np.full((40, 50), 40_000, np.uint16)
        image = decode(tiff_of(bright, more=[(281, SHORT, 1, 4095)]))
        assert image.flags == ("over_range=2000",)
        assert image.rgb.max() == 156

    def test_a_sixteen_bit_png(self) -> None:
        assert decode(png_of(SIXTEEN)).rgb.tolist() == grey([0, 156, 255, 4])
        scaled = np.rint(DEEP * (255 / 65535))
        assert np.array_equal(decode(png_of(DEEP)).rgb, scaled)

    def test_sixteen_bit_alpha_is_laid_over_white(self) -> None:
        pixel = np.array([[[0, 0x6400, 0xFFFF, 0x3333], [1, 2, 3, 0]]], np.uint16)
        expected = [[[204, 224, 255], [255, 255, 255]]]
        bgra = np.ascontiguousarray(pixel[:, :, [2, 1, 0, 3]])
        assert decode(bytes(cv2.imencode(".png", bgra)[1])).rgb.tolist() == expected
        assert decode(tiff_of(pixel, more=[(338, SHORT, 1, 2)])).rgb.tolist() == expected

    @pytest.mark.parametrize("pages", [2, 5])
    def test_of_several_pages_the_first(self, pages: int) -> None:
        frames = [Pillow.new("RGB", (8, 8), (number, 0, 0)) for number in range(pages)]
        image = decode(saved(frames[0], save_all=True, append_images=frames[1:]))
        assert image.rgb[0, 0].tolist() == [0, 0, 0]
        assert image.flags == (f"multi_page={pages}",)

    def test_tags_of_other_layouts_are_read(self) -> None:
        more = [(306, 2, 20, b"2024:06:24 14:50:30\0")]
        assert decode(broken_files.layout(more=more)).tags.when == broken_files.WHEN
        assert decode(png_of(RGB)).tags == NO_TAGS


UPRIGHT = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB, -1),
    7: RGB[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(RGB),
}


class TestOrientation:
    @pytest.mark.parametrize("turn", range(1, 9))
    def test_of_tiffs(self, turn: int) -> None:
        more = [(274, SHORT, 1, turn)]
        assert np.array_equal(decode(tiff_of(RGB, more=more)).rgb, UPRIGHT[turn])
        deep = decode(tiff_of(RGB.astype(np.uint16) * 257, more=more)).rgb
        assert np.array_equal(deep, UPRIGHT[turn])
        one = decode(tiff_of(RGB[..., 0].astype(np.uint16) * 257, more=more)).rgb
        assert np.array_equal(one[..., 1], UPRIGHT[turn][..., 0])

    @pytest.mark.parametrize("turn", range(1, 9))
    @pytest.mark.parametrize("deep", [False, True], ids=["8 bit", "16 bit"])
    def test_of_pngs(self, turn: int, deep: bool) -> None:
        exif = Pillow.Exif()
        exif[274] = turn
        body = exif.tobytes()[6:]
        chunk = struct.pack(">I", len(body)) + b"eXIf" + body
        chunk += struct.pack(">I", zlib.crc32(b"eXIf" + body))
        data = png_of(RGB.astype(np.uint16) * 257 if deep else RGB)
        assert np.array_equal(decode(data[:33] + chunk + data[33:]).rgb, UPRIGHT[turn])

    @pytest.mark.parametrize("turn", range(1, 9))
    def test_of_jpegs(self, turn: int) -> None:
        exif = Pillow.Exif()
        exif[274] = turn
        flat = Pillow.fromarray(np.repeat(np.repeat(RGB[:2, :3], 16, 0), 16, 1))
        plain = decode(saved(flat, "JPEG")).rgb
        turned = decode(saved(flat, "JPEG", exif=exif)).rgb
        assert turned.shape[:2] == (plain.shape[:2] if turn < 5 else plain.shape[1::-1])
        assert np.array_equal(turned, plain) is (turn == 1)
