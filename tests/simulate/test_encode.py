"""TIFFs as the instrument writes them: genuine headers, positions, Pillow's view."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pi10_classifier.simulate import Place, encode_tiff

GENUINE = Path(__file__).resolve().parents[3] / "shared" / "data" / "pi10-examples"
WHEN = datetime(2023, 8, 3, 8, 38, 37, tzinfo=UTC)

# The header of a genuine 72 x 40 px file without a fix, its private field included.
GOLDEN_HEADER = bytes.fromhex(
    "49492a00080000001100000104000100000048000000010104000100000028000000020103000300"
    "0000820100000301030001000000010000000601030001000000020000000d010200010000000000"
    "00000e01020001000000000000001001020004000000362e30001101040001000000880100001501"
    "030001000000030000001601040001000000280000001701040001000000c02100001a0105000100"
    "00002e0100001b010500010000003601000028010300010000000300000032010200140000003e01"
    "00002588040001000000ec000000000000000300ac0300001d00000006ce220006ce220005000000"
    "0100040000000202000001000200020000004e000000020005000300000052010000030002000200"
    "00004500000004000500030000006a01000000000000e803000001000000e8030000010000003230"
    "32333a30383a30332030383a33383a333700000000000100000000000000a0860100000000000100"
    "0000000000000100000000000000a08601000000000001000000080008000800"
)


def speckled(width: int = 72, height: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


class TestEncode:
    def test_header_is_the_genuine_one(self) -> None:
        place = Place(column=940, line=29, block=2280966, last_block=2280966)
        data = encode_tiff(speckled(), WHEN, None, None, place=place)
        assert data[:392] == GOLDEN_HEADER

    @pytest.mark.skipif(not GENUINE.is_dir(), reason="../shared/data/pi10-examples is not here")
    def test_genuine_files_are_reproduced_whole(self) -> None:
        files = sorted(GENUINE.glob("*.tif"))
        assert files
        for path in files:
            genuine = path.read_bytes()
            with Image.open(path) as image:
                rgb = np.asarray(image)
                stamp = image.tag_v2[306]
            end = 392 + rgb.size
            line = np.frombuffer(genuine, np.uint8, rgb.shape[1] * 3, end).reshape(-1, 3)
            column, first, block, last = struct.unpack_from("<4I", genuine, 220)
            place = Place.seen(column, first, block, rgb.shape[0])
            assert place.last_block == last
            again = encode_tiff(
                rgb,
                datetime.strptime(stamp, "%Y:%m:%d %H:%M:%S"),
                None,
                None,
                place=place,
                background=line,
                footer=struct.unpack("<6h", genuine[-12:]),
            )
            assert again == genuine, path.name

    @pytest.mark.parametrize("size", [(64, 40), (8, 8), (176, 96), (73, 41), (1, 1)])
    def test_pillow_reads_the_same_pixels(self, size: tuple[int, int]) -> None:
        rgb = speckled(*size)
        data = encode_tiff(rgb, WHEN, None, None)
        assert len(data) == 392 + rgb.size + size[0] * 3 + 12
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), rgb)
            assert image.tag_v2[306] == "2023:08:03 08:38:37"
            assert image.tag_v2[282] == 1000
            assert image.tag_v2[296] == 3

    def test_position_is_degrees_and_decimal_minutes(self) -> None:
        data = encode_tiff(speckled(), WHEN, -50.25, 6.5100001)
        with Image.open(io.BytesIO(data)) as image:
            gps = image.getexif().get_ifd(34853)
        assert (gps[1], gps[3]) == ("S", "E")
        assert gps[2] == (50, 15, 0)
        assert [float(v) for v in gps[4]] == pytest.approx([6, 30.60001, 0], abs=1e-5)

    @given(
        latitude=st.floats(-90, 90, allow_nan=False),
        longitude=st.floats(-180, 180, allow_nan=False),
    )
    def test_positions_survive_to_a_centimetre(self, latitude: float, longitude: float) -> None:
        data = encode_tiff(speckled(8, 8), WHEN, latitude, longitude)
        for value, reference, negative, at in (
            (latitude, 258, b"S", 338),
            (longitude, 282, b"W", 362),
        ):
            degrees, one, minutes, units = struct.unpack_from("<4I", data, at)
            assert (one, units) == (1, 100_000)
            assert minutes < 60 * units
            sign = -1 if data[reference : reference + 1] == negative else 1
            assert sign * (degrees + minutes / units / 60) == pytest.approx(value, abs=1e-7)

    def test_background_and_footer_follow_the_image(self) -> None:
        rgb = np.full((16, 24, 3), (240, 230, 220), np.uint8)
        rgb[4:8, 4:8] = (9, 8, 7)
        data = encode_tiff(rgb, WHEN, None, None)
        line = np.frombuffer(data, np.uint8, 72, 392 + rgb.size).reshape(24, 3)
        assert (line == (220, 230, 240)).all()
        assert struct.unpack("<6h", data[-12:]) == (-220, -230, -240, 7, 8, 9)

    def test_zoned_time_is_written_in_utc(self) -> None:
        local = datetime(2024, 6, 24, 16, 50, 9, tzinfo=timezone(timedelta(hours=2)))
        assert encode_tiff(speckled(), local, None, None)[318:338] == b"2024:06:24 14:50:09\0"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"rgb": np.zeros((8, 8), np.uint8)},
            {"rgb": np.zeros((8, 8, 3), np.float32)},
            {"rgb": np.zeros((0, 8, 3), np.uint8)},
            {"latitude": 50.0},
            {"latitude": 91.0, "longitude": 0.0},
            {"background": np.zeros((7, 3), np.uint8)},
        ],
    )
    def test_wrong_arguments_are_refused(self, wrong: dict[str, object]) -> None:
        fields = {"rgb": speckled(8, 8), "when": WHEN, "latitude": None, "longitude": None}
        with pytest.raises(ValueError, match=r"expected|give both|position|background"):
            encode_tiff(**(fields | wrong))
