"""The decoder gate: refusals, cuts, caps, bombs and hostile bytes."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import broken_files
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import DEEP, LONG, RGB, RNG, SHORT, outcome, png_of, refusal, saved, tiff_of
from PIL import Image as Pillow
from PIL import features

from pi10_classifier.errors import Code, InputError
from pi10_classifier.imaging.decode import Caps, Image, decode, looks_like_image
from pi10_classifier.instrument.tiff import NO_TAGS
from pi10_classifier.simulate import encode_tiff


class TestRefused:
    def test_an_empty_file(self) -> None:
        assert refusal(b"") is Code.EMPTY_OBJECT

    @pytest.mark.parametrize(
        "data",
        [
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            b"GIF89a" + bytes(40),
            b"BM" + bytes(60),
            b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20),
            b"%PDF-1.7",
            b"I",
            b"\xff\xd8",
            b"\x89PNG\r\n\x1a",
            bytes(1000),
        ],
    )
    def test_other_formats(self, data: bytes) -> None:
        assert refusal(data) is Code.UNSUPPORTED_FORMAT
        assert not looks_like_image(data[:16])

    @pytest.mark.parametrize("mode", ["F", "I"])
    def test_float_and_32_bit(self, mode: str) -> None:
        assert refusal(saved(Pillow.new(mode, (4, 4)))) is Code.UNSUPPORTED_MODE

    @pytest.mark.parametrize(
        "data",
        [
            broken_files.layout(bits=(64,), photometric=1, more=[(339, SHORT, 1, 3)]),
            broken_files.layout(bits=(16,), photometric=1, more=[(339, SHORT, 1, 3)]),
            broken_files.layout(bits=(8,), photometric=1, more=[(339, SHORT, 1, 2)]),
            broken_files.layout(bits=(64,), photometric=1, more=[(339, SHORT, 1, 6)]),
            broken_files.layout(bits=(12,), photometric=1),
            broken_files.layout(bits=(8, 16, 4)),
            broken_files.layout(photometric=6),
            broken_files.layout(photometric=8),
            tiff_of(np.zeros((4, 4, 4), np.uint16), photometric=5),
            tiff_of(np.zeros((4, 4, 3), np.uint16), more=[(284, SHORT, 1, 2)]),
            tiff_of(
                np.zeros((4, 4, 2), np.uint8), more=[(284, SHORT, 1, 2), (338, SHORT, 1, 2)]
            ),
            tiff_of(np.zeros((4, 4, 2), np.uint16), more=[(338, SHORT, 1, 2)]),
        ],
        ids=["float64", "float16", "signed", "complex", "packed 12 bit", "mixed bits", "ycbcr",
             "lab", "cmyk16", "rgb16 in planes", "la8 in planes", "la16"],
    )  # fmt: skip
    def test_pixel_types_without_a_documented_conversion(self, data: bytes) -> None:
        assert refusal(data) is Code.UNSUPPORTED_MODE

    @pytest.mark.parametrize("size", [(20_000, 20_000), (16_385, 1), (1, 16_385), (7000, 7000)])
    def test_too_many_pixels_by_the_header_alone(self, size: tuple[int, int]) -> None:
        expected = Code.TOO_LARGE, Code.DECOMPRESSION_BOMB
        assert refusal(broken_files.layout(*size, strip=b"\0" * 40_000)) in expected
        assert refusal(broken_files.png(*size, zlib.compress(b""))) in expected

    def test_the_instruments_own_are_capped_too(self) -> None:
        data = encode_tiff(RGB, broken_files.WHEN, None, None)
        assert refusal(data, Caps(pixels=900)) is Code.TOO_LARGE
        assert refusal(data, Caps(side=39)) is Code.TOO_LARGE
        assert refusal(data, Caps(bytes=len(data) - 1)) is Code.TOO_LARGE
        assert decode(data, Caps(pixels=960, side=40, bytes=len(data))).rgb.shape == (24, 40, 3)


class TestCuts:
    """A cut file is corrupt at whatever byte; it never gives half an image."""

    def formats() -> dict[str, bytes]:  # type: ignore[misc]
        picture, deep = Pillow.fromarray(RGB), RNG.integers(0, 65536, (48, 64, 3))
        found = {
            "instrument": encode_tiff(RGB, broken_files.WHEN, 50.0, 5.0)[: 392 + RGB.size],
            "plain tiff": tiff_of(RGB),
            "deep grey tiff": tiff_of(DEEP[..., 0]),
            "deep colour tiff": tiff_of(DEEP),
            "png": png_of(RGB),
            "deep png": png_of(DEEP),
            "deep tiff of opencv": bytes(cv2.imencode(".tiff", deep.astype(np.uint16))[1]),
        }
        if features.check("libtiff"):
            for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
                found[f"{name} tiff"] = saved(picture, compression=name)
        big = Pillow.fromarray(np.kron(RGB, np.ones((4, 4, 1), np.uint8)))
        found["jpeg file"] = saved(big, "JPEG", quality=90)
        found["progressive jpeg"] = saved(big, "JPEG", progressive=True)
        return found

    FORMATS = formats()

    @pytest.mark.parametrize("name", FORMATS)
    def test_at_every_64_bytes(self, name: str) -> None:
        data = self.FORMATS[name]
        assert outcome(data) is None
        spare = 2 if "jpeg" in name and "tiff" not in name else 0  # the end mark of a JPEG
        cuts = [*range(8, len(data) - spare, 64), len(data) - spare - 1]
        assert {cut: outcome(data[:cut]) for cut in cuts} == dict.fromkeys(cuts, Code.CORRUPT_IMAGE)

    @pytest.mark.parametrize("cut", range(1, 8))
    def test_inside_the_signature(self, cut: int) -> None:
        for data in (self.FORMATS["plain tiff"], self.FORMATS["png"]):
            assert refusal(data[:cut]) in (Code.UNSUPPORTED_FORMAT, Code.CORRUPT_IMAGE)

    def test_the_same_cut_has_the_same_message(self) -> None:
        def said(data: bytes) -> str:
            with pytest.raises(InputError) as caught:
                decode(data)
            return caught.value.message

        for data in (*self.FORMATS.values(), broken_files.layout(photometric=60_000)):
            for cut in (9, 60, 200):
                assert said(data[:cut]) == said(bytes(bytearray(data[:cut])))


MEMORY_LIMITED = """
    import resource, sys
    from pathlib import Path
    from PIL import JpegImagePlugin, PngImagePlugin, TiffImagePlugin
    from pi10_classifier.imaging.decode import decode
    from pi10_classifier.errors import InputError
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)
    for path in sys.argv[1:]:
        try:
            print(decode(Path(path).read_bytes()).rgb.shape)
        except InputError as error:
            print(error.code)
"""


def tile_bomb() -> bytes:
    """A 16 x 16 image in one tile of 64 megapixels, all zeros, in 200 kB."""
    side = 8_000
    packer = zlib.compressobj(9)
    line = bytes(side * 3)
    packed = b"".join([packer.compress(line) for _ in range(side)]) + packer.flush()
    data = broken_files.layout(
        16,
        16,
        compression=8,
        strip=packed,
        more=[
            (322, LONG, 1, side),
            (323, LONG, 1, side),
            (324, LONG, 1, 0),
            (325, LONG, 1, len(packed)),
        ],
    )
    at = data.index(struct.pack("<HHI", 324, LONG, 1)) + 8
    return data[:at] + struct.pack("<I", len(data) - len(packed)) + data[at + 4 :]


class TestBombs:
    @pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by setrlimit")
    def test_all_fit_into_100_mb(self, tmp_path: Path) -> None:
        expected = {
            "group 4 bomb of 108 megapixels": "decompression_bomb",
            "png zip bomb": "decompression_bomb",
            "png of 4 gigapixels": "decompression_bomb",
            "deflate bomb": "decompression_bomb",
            "png text bomb": "corrupt_image",
            "tile bomb": "decompression_bomb",
            "20,000 x 20,000 px": "decompression_bomb",
            "tiles of 2 billion px": "decompression_bomb",
        }
        files = TestHostile.KINDS | {"tile bomb": tile_bomb()}
        paths = []
        for number, name in enumerate(expected):
            assert len(files[name]) < 1_000_000
            paths.append(tmp_path / str(number))
            paths[-1].write_bytes(files[name])
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(MEMORY_LIMITED), *paths],
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert dict(zip(expected, done.stdout.splitlines(), strict=True)) == expected, done.stderr

    def test_the_known_group_4_bomb_is_small(self) -> None:
        data = TestHostile.KINDS["group 4 bomb of 108 megapixels"]
        assert len(data) < 4_000
        assert refusal(data) is Code.DECOMPRESSION_BOMB

    def test_a_large_plain_image_is_no_bomb(self) -> None:
        noise = RNG.integers(0, 256, (900, 900, 3)).astype(np.uint8)
        assert decode(png_of(noise)).rgb.shape == (900, 900, 3)


MAGICS = (b"", b"II*\0", b"MM\0*", b"II+\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0")


class TestHostile:
    KINDS = broken_files.broken_files(np.random.default_rng(0))

    def test_there_are_60_kinds(self) -> None:
        assert len(self.KINDS) >= 60

    @pytest.mark.parametrize("name", KINDS)
    def test_every_kind_is_an_image_or_a_typed_failure(self, name: str) -> None:
        outcome(self.KINDS[name])

    def test_no_process_is_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def started(*arguments: Any, **_: Any) -> None:
            pytest.fail(f"a process was started: {arguments}")

        monkeypatch.setattr(subprocess, "Popen", started)
        monkeypatch.setattr(os, "system", started)
        for name in ("eps", "pdf", "svg", "html"):
            assert refusal(self.KINDS[name]) is Code.UNSUPPORTED_FORMAT

    def test_opencv_says_nothing_on_the_terminal(self, capfd: pytest.CaptureFixture[str]) -> None:
        for data in (*self.KINDS.values(), tiff_of(DEEP)[:-50]):
            outcome(data)
        said = capfd.readouterr()
        assert said.out == ""
        assert "OpenCV" not in said.err
        assert "grfmt" not in said.err

    @given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(TestCuts.FORMATS)))
    @settings(max_examples=400)
    def test_mutated_files_of_all_formats(self, seed: int, name: str) -> None:
        outcome(broken_files.mutate(TestCuts.FORMATS[name], np.random.default_rng(seed)))

    @pytest.mark.parametrize("number", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
    def test_mutated_tiffs(self, number: int) -> None:
        rng = np.random.default_rng(number)
        good = broken_files.good_tiff(rng)
        results = [outcome(broken_files.mutate(good, rng)) for _ in range(number)]
        # mutations both spoil files and leave some alone, or the test would prove nothing
        assert 0.05 < results.count(None) / number < 0.95
        assert len(set(results)) > 3

    @given(st.binary(max_size=300), st.sampled_from(MAGICS))
    @settings(max_examples=400)
    def test_any_bytes(self, noise: bytes, magic: bytes) -> None:
        outcome(magic + noise)


def test_an_image_is_a_value() -> None:
    with pytest.raises(AttributeError):
        Image(RGB, NO_TAGS).rgb = RGB  # type: ignore[misc]
