"""TIFF tags of sound and hostile headers; the fast path against the general readers."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import broken_files
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from pi10_classifier.instrument.tiff import (
    NO_TAGS,
    PIXEL_OFFSET,
    Ifd,
    Tags,
    particle_header,
    read_tags,
)
from pi10_classifier.simulate import encode_tiff

WHEN = datetime(2024, 6, 24, 14, 50, 30, tzinfo=UTC)
GOOD = encode_tiff(
    np.random.default_rng(1).integers(0, 256, (8, 16, 3)).astype(np.uint8), WHEN, 50.25, -6.5
)
ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
PLACE = ((50, 1, 15, 1, 0, 1), (6, 1, 30, 1, 0, 1))


def gps_tiff(
    latitude: Sequence[int] = PLACE[0],
    longitude: Sequence[int] = PLACE[1],
    north: bytes = b"N",
    east: bytes = b"E",
    order: str = "<",
) -> bytes:
    """A header whose GPS directory lies behind the main one."""
    at = 8 + 2 + 12 + 4
    values = at + 2 + 4 * 12 + 4
    entries = b"".join(
        (
            struct.pack(order + "HHI4s", 1, ASCII, 2, north + bytes(4 - len(north))),
            struct.pack(order + "HHII", 2, RATIONAL, 3, values),
            struct.pack(order + "HHI4s", 3, ASCII, 2, east + bytes(4 - len(east))),
            struct.pack(order + "HHII", 4, RATIONAL, 3, values + 24),
        )
    )
    return (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(order + "IHHHIII", 8, 1, 34853, LONG, 1, at, 0)
        + struct.pack(order + "H", 4)
        + entries
        + bytes(4)
        + struct.pack(order + "12I", *latitude, *longitude)
    )


def place(data: bytes) -> tuple[float | None, float | None]:
    tags = read_tags(Ifd(data))
    return tags.latitude, tags.longitude


class TestPosition:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize(
        ("north", "east", "expected"),
        [
            (b"N", b"E", (50.25, 6.5)),
            (b"S", b"W", (-50.25, -6.5)),
            (b"s", b"w", (-50.25, -6.5)),
            (b"\0", b"?", (50.25, 6.5)),
        ],
    )
    def test_hemispheres(
        self, north: bytes, east: bytes, expected: tuple[float, float], order: str
    ) -> None:
        if order == ">":
            assert place(gps_tiff(order=order)) == (50.25, 6.5)
        else:
            assert place(gps_tiff(north=north, east=east)) == expected

    def test_seconds_and_fractions_count(self) -> None:
        latitude = (50, 1, 153_000, 10_000, 36, 1)
        assert place(gps_tiff(latitude))[0] == pytest.approx(50 + 15.3 / 60 + 36 / 3600)

    @pytest.mark.parametrize(
        "latitude",
        [
            (50, 0, 15, 1, 0, 1),
            (50, 1, 15, 0, 0, 1),
            (50, 1, 15, 1, 1, 0),
            (50, 1, 15, 0, 0, 0),
            (50, 1, 0, 0, 0, 0),
            (50, 1, 0, 0, 1, 1),
            (0, 0, 0, 0, 0, 0),
            (91, 1, 0, 1, 0, 1),
            (90, 1, 1, 1, 0, 1),
            (50, 1, 61, 1, 0, 1),
            (50, 1, 60_00001, 1_00000, 0, 1),
            (50, 1, 0, 1, 61, 1),
            (0xFFFFFFFF, 1, 0, 1, 0, 1),
        ],
    )
    def test_an_impossible_latitude_leaves_no_position(self, latitude: Sequence[int]) -> None:
        assert place(gps_tiff(latitude)) == (None, None)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize(
        ("latitude", "expected"),
        [
            ((50, 1, 60_00000, 1_00000, 0, 1), 51),  # 59.999996 rounded
            ((50, 1, 59, 1, 60, 1), 51),
            ((89, 1, 60, 1, 0, 1), 90),
            ((50, 1, 15, 1, 0, 0), 50.25),  # seconds unknown: in the minutes' fraction
            ((5025, 100, 0, 0, 0, 0), 50.25),
        ],
    )
    def test_rounding_and_unknown_seconds_keep_the_fix(
        self, latitude: Sequence[int], expected: float, order: str
    ) -> None:
        assert place(gps_tiff(latitude, order=order))[0] == pytest.approx(expected)

    def test_zero_zero_is_no_fix(self) -> None:
        assert place(gps_tiff((0, 1, 0, 1, 0, 1), (0, 1, 0, 1, 0, 1))) == (None, None)

    def test_the_equator_and_greenwich_are_places(self) -> None:
        nil = (0, 1, 0, 1, 0, 1)
        assert place(gps_tiff(nil)) == (0, 6.5)
        assert place(gps_tiff(longitude=nil)) == (50.25, 0)

    @pytest.mark.parametrize("at", [0, 8, 26, 2**31, 2**32 - 1])
    def test_a_gps_directory_that_is_none_leaves_no_position(self, at: int) -> None:
        data = bytearray(gps_tiff())
        struct.pack_into("<I", data, 18, at)
        if at != 26:
            assert place(bytes(data)) == (None, None)
        else:
            assert place(bytes(data)) == (50.25, 6.5)

    def test_values_beyond_the_end_leave_no_position(self) -> None:
        assert place(gps_tiff()[:-1]) == (None, None)


class TestTags:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (b"2024:06:24 14:50:30\0", WHEN),
            (b"2024:06:24 14:50:30", WHEN),
            (b"2024:06:31 14:50:30\0", None),
            (b"2024:06:24 24:50:30\0", None),
            (b"0000:00:00 00:00:00\0", None),
            (b"2024-06-24 14:50:30\0", None),
            (b"2024:06:24T14:50:30\0", None),
            (b"2024:06:24 14:50\0\0\0\0", None),
            (b"2_24:06:24 14:50:30\0", None),
            (b"+024:06:24 14:50:30\0", None),
            (b" 024: 6:24 14:50:30\0", None),
            (b"\xff" * 20, None),
            (b"", None),
        ],
    )
    def test_date_time(self, text: bytes, expected: datetime | None) -> None:
        data = broken_files.layout(more=[(306, ASCII, len(text), text)] if text else [])
        assert read_tags(Ifd(data)).when == expected

    @pytest.mark.parametrize(
        ("unit", "density", "expected"),
        [
            (3, (1000, 1), 10.0),
            (2, (2540, 1), 10.0),
            (3, (500, 2), 40.0),
            (1, (1000, 1), None),
            (3, (0, 1), None),
            (3, (1000, 0), None),
            (3, (0, 0), None),
        ],
    )
    def test_resolution(self, unit: int, density: tuple[int, int], expected: float | None) -> None:
        more = [(282, RATIONAL, 1, struct.pack("<II", *density)), (296, SHORT, 1, unit)]
        assert read_tags(Ifd(broken_files.layout(more=more))).um_per_px == expected

    def test_the_instruments_own(self) -> None:
        assert read_tags(Ifd(GOOD)) == Tags(WHEN, 50.25, -6.5, 10.0)

    def test_a_big_endian_short_is_read_from_its_own_half(self) -> None:
        ifd = Ifd(broken_files.layout(width=300, order=">"))
        assert (ifd.integer(256), ifd.integer(277)) == (300, 3)

    def test_a_file_without_them_has_none(self) -> None:
        assert read_tags(Ifd(broken_files.layout())) == NO_TAGS


class TestIfd:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"II*\0",
            b"II*\0\x08\0\0\0",
            b"II*\0\x08\0\0\0\x00\x00" + bytes(20),
            b"II*\0\x08\0\0\0\xff\xff" + bytes(20),
            b"II*\0\xff\xff\xff\xff" + bytes(20),
            b"II+\0" + bytes(40),
            b"IM*\0" + bytes(40),
            GOOD[:100],
        ],
    )
    def test_a_directory_outside_the_bytes_is_a_value_error(self, data: bytes) -> None:
        with pytest.raises(ValueError, match="TIFF"):
            Ifd(data)

    def test_a_value_is_not_read_from_beyond_the_end(self) -> None:
        data = broken_files.layout(more=[(306, ASCII, 20, 0x7FFFFFFF)])
        assert Ifd(data).raw(306) == b""

    def test_a_huge_value_is_not_read(self) -> None:
        data = broken_files.layout(more=[(306, ASCII, 0xFFFFFFFF, 8)])
        assert Ifd(data).raw(306) == b""

    @given(st.binary(max_size=400))
    @settings(max_examples=300)
    def test_any_bytes_give_tags_or_a_value_error(self, noise: bytes) -> None:
        try:
            read_tags(Ifd(b"II*\0" + noise))
        except ValueError:
            return

    @given(st.lists(st.tuples(st.integers(8, 391), st.integers(0, 255)), max_size=12))
    @settings(max_examples=300)
    def test_a_damaged_header_gives_tags_or_a_value_error(
        self, changes: list[tuple[int, int]]
    ) -> None:
        data = bytearray(GOOD)
        for at, value in changes:
            data[at] = value
        try:
            read_tags(Ifd(bytes(data)))
        except ValueError:
            return


def opened(data: bytes) -> Any:
    with Pillow.open(io.BytesIO(data), formats=["TIFF"]) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


class TestParticleHeader:
    def test_reads_what_the_general_readers_read(self) -> None:
        header = particle_header(GOOD)
        assert header is not None
        assert (header.width, header.height) == (16, 8)
        assert header.tags == read_tags(Ifd(GOOD))

    @pytest.mark.parametrize("size", [0, 8, PIXEL_OFFSET - 1])
    def test_a_cut_header_is_not_recognised(self, size: int) -> None:
        assert particle_header(GOOD[:size]) is None

    @pytest.mark.parametrize(("width", "height"), [(0, 8), (16, 0), (0, 0)])
    def test_an_image_without_pixels_is_not_recognised(self, width: int, height: int) -> None:
        data = bytearray(GOOD)
        for offset, value in ((18, width), (30, height), (138, height), (150, 0)):
            struct.pack_into("<I", data, offset, value)
        assert particle_header(bytes(data)) is None

    @given(
        st.lists(
            st.tuples(st.integers(0, PIXEL_OFFSET - 1), st.integers(0, 255)),
            min_size=1,
            max_size=4,
        )
    )
    @settings(max_examples=1500)
    @example([(254, 0), (258, ord("S"))])
    @example([(338, 91)])
    @example([(342, 0), (343, 0)])
    @example([(318, ord("+"))])
    @example([(222, 255), (230, 1)])
    @example([(96, 255)])
    def test_what_it_accepts_the_general_readers_read_alike(
        self, changes: list[tuple[int, int]]
    ) -> None:
        data = bytearray(GOOD)
        for at, value in changes:
            data[at] = value
        header = particle_header(bytes(data))
        if header is None:
            return
        assert header.tags == read_tags(Ifd(bytes(data)))
        ifd = Ifd(bytes(data))
        assert (ifd.integer(256), ifd.integer(257)) == (header.width, header.height)
        assert ifd.integer(273) == PIXEL_OFFSET
        rgb = np.frombuffer(data, np.uint8, header.width * header.height * 3, PIXEL_OFFSET)
        assert np.array_equal(opened(bytes(data)).reshape(-1), rgb)

    @given(st.integers(258, 391), st.integers(0, 255))
    @settings(max_examples=300)
    def test_changes_of_values_are_mostly_accepted_and_read_alike(
        self, at: int, value: int
    ) -> None:
        data = bytearray(GOOD)
        data[at] = value
        header = particle_header(bytes(data))
        if header is not None:
            assert header.tags == read_tags(Ifd(bytes(data)))
