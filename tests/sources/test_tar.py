"""The tar and zip streams: in step with tarfile on sound archives, typed on all others."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import (
    ABC,
    END,
    FORMATS,
    PARTICLE,
    TWO,
    as_tarfile_reads,
    contents,
    header,
    padded,
    read,
    tar_of,
)

from pi10_classifier.errors import Code
from pi10_classifier.sources.base import Limits


class TestTarAgreesWithTarfile:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize(
        "name",
        [
            PARTICLE,
            "a b+c%2B.tif",
            "caf\u00e9/cafe\u0301.tif",
            "d/" * 45 + "a.tif",
            "x" * 100,
            "../../etc/passwd",
            "/absolute/a.tif",
        ],
    )
    def test_names(self, name: str, form: int) -> None:
        data = tar_of((name, b"abc"), ("next.tif", b"n"), form=form)
        assert contents(data) == as_tarfile_reads(data) == [(name, b"abc"), ("next.tif", b"n")]

    @pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    @pytest.mark.parametrize("name", ["n" * 101, "n/" * 500 + "\u00e9.tif", "n" * 1_000])
    def test_long_names(self, name: str, form: int) -> None:
        data = tar_of((name, b"abc"), ("next.tif", b"n"), form=form)
        assert contents(data) == as_tarfile_reads(data) == [(name, b"abc"), ("next.tif", b"n")]

    def test_a_ustar_prefix(self) -> None:
        name = "p" * 120 + "/" + "n" * 90
        data = tar_of((name, b"abc"), form=tarfile.USTAR_FORMAT)
        assert contents(data) == as_tarfile_reads(data) == [(name, b"abc")]

    def test_a_gnu_header_has_no_prefix(self) -> None:
        data = header(magic=b"ustar  \0", prefix=b"12345670123") + ABC + END
        assert contents(data) == [("a.tif", b"abc")]  # tarfile takes the time for a folder

    def test_a_header_of_the_seventies(self) -> None:
        data = header(magic=b"", kind=b"\0") + ABC + END
        assert contents(data) == as_tarfile_reads(data) == [("a.tif", b"abc")]

    @pytest.mark.parametrize("kind", [b"7", b"Z", b"\0"])
    def test_unknown_types_are_files(self, kind: bytes) -> None:
        data = header(kind=kind) + ABC + END
        assert contents(data) == as_tarfile_reads(data) == [("a.tif", b"abc")]

    def test_a_global_pax_header_counts_for_all(self) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", pax_headers={"comment": "cruise"}) as tar:
            info = tarfile.TarInfo("a.tif")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
        assert contents(out.getvalue()) == [("a.tif", b"abc")]

    @pytest.mark.parametrize("kind", [b"x", b"X"])
    def test_a_size_in_the_pax_header_counts(self, kind: bytes) -> None:
        record = b"10 size=3\n"
        data = header(b"x", b"%011o\0" % len(record), kind) + padded(record)
        data += header(size=b"00000000000\0") + ABC + header(b"b.tif") + ABC + END
        assert contents(data) == as_tarfile_reads(data) == [("a.tif", b"abc"), ("b.tif", b"abc")]

    def test_a_size_in_base_256(self) -> None:
        data = header(size=b"\x80" + (3).to_bytes(11, "big")) + ABC + END
        assert contents(data) == as_tarfile_reads(data) == [("a.tif", b"abc")]

    @pytest.mark.parametrize("added", [65519, 65520, 65521, 65522, 65535, 65536, 70000])
    def test_a_header_of_any_sum(self, added: int) -> None:
        """The sum is compared modulo 65521, so those about it must be as good as any."""
        info = tarfile.TarInfo(PARTICLE)
        info.size = len(ABC)
        raw = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        raw[148:156], raw[257:265] = bytes(8), b"ustar  \0"
        for at in (*range(157, 257), *range(345, 500)):  # the link's name, and a GNU header's rest
            raw[at] = min(255, added - sum(raw))
        assert sum(raw) == added
        raw[148:156] = b"%06o\0 " % (added + 8 * 0x20)
        archive = bytes(raw) + padded(ABC) + END
        assert contents(archive) == [(PARTICLE, ABC)]

    def test_a_folder_has_neither_bytes_nor_error(self) -> None:
        data = header(b"dir/", b"00000001000\0", b"5") + header() + ABC + END
        assert contents(data) == [("dir/", None), ("a.tif", b"abc")]
        assert [name.rstrip("/") for name, _ in as_tarfile_reads(data)] == ["dir", "a.tif"]

    @given(
        st.lists(
            st.tuples(
                st.text(
                    st.characters(
                        codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]
                    ),
                    min_size=1,
                    max_size=160,
                ).filter(lambda name: name.strip("/") == name),
                st.binary(max_size=1200),
            ),
            max_size=5,
        ),
        st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    )
    @settings(max_examples=150)
    def test_on_any_archive_it_writes(self, files: list[tuple[str, bytes]], form: int) -> None:
        data = tar_of(*files, form=form)
        assert contents(data) == as_tarfile_reads(data) == files

    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
    def test_compressed(self, pack: Callable[[bytes], bytes]) -> None:
        assert contents(pack(TWO)) == as_tarfile_reads(TWO)

    def test_an_empty_archive_has_no_members(self) -> None:
        assert contents(tar_of()) == []


class TestDamagedTar:
    def test_every_prefix_is_corrupt_or_ends_between_members(self) -> None:
        whole = contents(TWO)
        between = {512 + 1024: 1, 512 + 1024 + 512 + 512: 2}
        for cut in range(1, len(TWO.rstrip(b"\0")) + 600):
            found, code = read(TWO[:cut])
            assert [(m.name, m.data) for m in found] == whole[: len(found)], cut
            if cut in between:
                assert (len(found), code) == (between[cut], None)
            elif cut < max(between):
                assert code is Code.ARCHIVE_CORRUPT, cut
            else:
                assert len(found) == 2
                assert code in (None, Code.ARCHIVE_CORRUPT)

    @pytest.mark.parametrize("at", [0, 512 + 1024], ids=["first header", "second header"])
    def test_no_flipped_byte_of_a_header_is_silent(self, at: int) -> None:
        for offset in range(512):
            if 148 + 6 <= offset < 156:
                continue  # behind the checksum's digits
            data = bytearray(TWO)
            data[at + offset] ^= 0x01
            found, code = read(bytes(data))
            assert code is Code.ARCHIVE_CORRUPT, offset
            assert len(found) == (1 if at else 0)

    @pytest.mark.parametrize("blocks", [1, 2, 8])
    def test_a_hole_of_zeros_over_a_header_is_not_the_end(self, blocks: int) -> None:
        data = bytearray(tar_of(*((f"{n}.tif", b"x" * 900) for n in range(9))))
        at = data.index(b"3.tif")
        data[at : at + 512 * blocks] = bytes(512 * blocks)
        found, code = read(bytes(data))
        names = [member.name for member in found]
        assert code is Code.ARCHIVE_CORRUPT or names[-1] == "8.tif"
        assert names[:3] == ["0.tif", "1.tif", "2.tif"]

    def test_archives_laid_end_to_end_are_all_read(self) -> None:
        assert [name for name, _ in contents(TWO + TWO)] == ["a.tif", "b.tif"] * 2

    @pytest.mark.parametrize("junk", [b"junk", b"j" * 512, b"\0" * 512 + b"j" * 600])
    def test_junk_behind_the_end_is_told(self, junk: bytes) -> None:
        found, code = read(TWO + junk)
        assert len(found) == 2
        assert code is Code.ARCHIVE_CORRUPT

    @pytest.mark.parametrize(
        "size",
        [
            b"-0000000001\0",
            b"-0000010000\0",
            b"+0000000003\0",
            b"0000000_003\0",
            b"0o000000003\0",
            b"00000000009\0",
            b"\xff" * 12,
            b"\xff" + b"\0" * 11,
        ],
    )
    def test_a_size_that_is_none_is_corrupt(self, size: bytes) -> None:
        assert read(header(size=size) + ABC + END) == ([], Code.ARCHIVE_CORRUPT)

    @pytest.mark.parametrize("size", [2**40, 2**62, 2**87])
    def test_a_size_beyond_the_archive_is_corrupt(self, size: int) -> None:
        field = b"\x80" + size.to_bytes(11, "big")
        assert read(header(size=field) + ABC + END) == ([], Code.ARCHIVE_CORRUPT)

    @pytest.mark.parametrize(
        "record",
        [b"5 x\n", b"999 path=a\n", b"-9 path=a\n", b"path=a\n", b"0 path=a\n", b"12 size=-33\n",
         b"12 size=3e9\n", b"13 size=\xd9\xa3\xd9\xa3\n"],
    )  # fmt: skip
    def test_a_pax_header_that_is_none_is_corrupt_or_ignored(self, record: bytes) -> None:
        data = header(b"x", b"%011o\0" % len(record), b"x") + padded(record)
        found, code = read(data + header() + ABC + END)
        assert code is Code.ARCHIVE_CORRUPT or [m.data for m in found] == [b"abc"]
        if b"size" in record:
            assert code is Code.ARCHIVE_CORRUPT

    @pytest.mark.parametrize("kind", [b"x", b"L"])
    @pytest.mark.parametrize("end", [b"", END], ids=["cut", "end mark"])
    def test_a_name_without_its_member_is_corrupt(self, kind: bytes, end: bytes) -> None:
        record = b"11 path=ab\n" if kind == b"x" else b"ab"
        data = header(b"n", b"%011o\0" % len(record), kind) + padded(record)
        found, code = read(header() + ABC + data + end)
        assert ([m.name for m in found], code) == (["a.tif"], Code.ARCHIVE_CORRUPT)

    @pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
    def test_a_huge_name_record_is_refused(self, kind: bytes) -> None:
        assert read(header(size=b"77777777777\0", kind=kind)) == ([], Code.ARCHIVE_LIMIT)

    @pytest.mark.parametrize(
        "data", [b"", b"x", b"x" * 512, b"x" * 5000, b"\0" * 5, random.Random(1).randbytes(9000)]
    )
    def test_what_is_no_tar_is_corrupt(self, data: bytes) -> None:
        assert read(data) == ([], Code.ARCHIVE_CORRUPT)

    @given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=20))
    @settings(max_examples=300)
    def test_no_damage_raises_anything_else(self, changes: list[tuple[int, int]]) -> None:
        data = bytearray(tar_of(("n" * 150, b"a" * 700), ("\u00e9.tif", b"b"))[:4096])
        for at, value in changes:
            data[at % len(data)] = value
        read(bytes(data))


class TestHostileTar:
    @pytest.mark.parametrize(
        ("kind", "what"),
        [(b"1", "hard link"), (b"2", "symbolic link"), (b"3", "device"), (b"4", "device"),
         (b"6", "FIFO"), (b"S", "sparse")],
    )  # fmt: skip
    def test_links_devices_and_sparse_files_are_unsafe(self, kind: bytes, what: str) -> None:
        size = b"00000000003\0" if kind == b"S" else b"00000000000\0"
        data = header(b"bad", size, kind) + (ABC if kind == b"S" else b"")
        found, code = read(data + header() + ABC + END)
        assert code is None
        bad, good = found
        assert bad.error is not None
        assert bad.error.code is Code.ARCHIVE_UNSAFE
        assert what in bad.error.message
        assert (good.name, good.data) == ("a.tif", b"abc")

    def test_a_pax_sparse_file_is_unsafe_by_its_own_name(self) -> None:
        pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real.tif"}
        found, code = read(tar_of(("GNUSparseFile.0/real.tif", b"0\n"), pax=pax))
        assert code is None
        assert found[0].name == "real.tif"
        assert found[0].error is not None
        assert found[0].error.code is Code.ARCHIVE_UNSAFE

    def test_a_nested_tar_is_a_member_like_any_other(self) -> None:
        assert contents(tar_of(("in.tar", TWO))) == [("in.tar", TWO)]

    def test_a_member_beyond_the_cap_costs_only_itself(self) -> None:
        found, code = read(TWO, Limits(member_bytes=500))
        assert code is None
        assert [m.error.code if m.error else None for m in found] == [Code.TOO_LARGE, None]

    def test_too_many_members(self) -> None:
        found, code = read(tar_of(*((f"{n}", b"") for n in range(9))), Limits(members=8))
        assert (len(found), code) == (8, Code.ARCHIVE_LIMIT)

    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
    def test_a_bomb_is_given_up(self, pack: Callable[[bytes], bytes]) -> None:
        packed = pack(tar_of(("zeros.tif", bytes(4_000_000))))
        found, code = read(packed, Limits(ratio=20, free_bytes=100_000))
        assert (found, code) == ([], Code.ARCHIVE_LIMIT)

    def test_a_nul_ends_a_ustar_name_and_stays_in_a_pax_name(self) -> None:
        assert contents(header(b"a\0b.tif") + ABC + END) == [("a", b"abc")]
        record = b"12 path=a\0b\n"
        data = header(b"x", b"%011o\0" % len(record), b"x") + padded(record)
        assert contents(data + header() + ABC + END) == [("a\0b", b"abc")]

    def test_undecodable_names_can_be_written(self) -> None:
        [(name, _)] = contents(header(b"caf\xe9\xed\xa0\x80.tif") + ABC + END)
        assert name == "caf\\xe9\\xed\\xa0\\x80.tif"
        assert name.encode("utf-8")

    def test_pax_records_do_not_pile_up(self) -> None:
        def globals_of(count: int) -> bytes:
            parts = []
            for number in range(count):
                body = f" key{number}={'v' * 900}\n".encode()
                record = str(len(body) + 3).encode() + body
                parts.append(header(b"g", b"%011o\0" % len(record), b"g") + padded(record))
            return b"".join(parts)

        data = globals_of(3_000) + header() + ABC + END
        tracemalloc.start()
        assert contents(data) == [("a.tif", b"abc")]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < len(data) + 500_000


class TestHoles:
    TWO = tar_of(("a", b"abc"), ("b", b"abc"))

    @pytest.mark.parametrize("hole", [0, 512, 1024, 2**20, 2**20 + 512, 3 * 2**20 + 1024])
    def test_members_behind_a_hole_are_found(self, hole: int) -> None:
        found, code = read(self.TWO + bytes(hole) + self.TWO)
        assert [m.name for m in found] == ["a", "b", "a", "b"]
        assert code is None

    def test_many_holes_do_not_pile_up(self) -> None:
        found, code = read((self.TWO + bytes(2048)) * 1500)
        assert len(found) == 3000
        assert code is None
