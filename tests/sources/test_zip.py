"""Zip archives and compressed tars: typed failures, nothing lost; and the stream itself."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import PARTICLE, TWO, contents, read, tar_of

from pi10_classifier.errors import Code, InputError
from pi10_classifier.sources.archives import is_archive, looks_like_archive, members
from pi10_classifier.sources.base import Limits, Member


def test_a_zip_without_its_directory_promises_no_results() -> None:
    with pytest.raises(InputError) as caught:
        list(members(io.BytesIO(b"PK\3\4" + bytes(60)), 64))
    assert caught.value.message.startswith("the zip's directory is damaged")
    assert "results" not in caught.value.message


class TestDamagedCompression:
    PACKED = (gzip.compress(TWO, mtime=0), bz2.compress(TWO), lzma.compress(TWO))

    @pytest.mark.parametrize("packed", PACKED, ids=["gz", "bz2", "xz"])
    def test_every_prefix_is_corrupt(self, packed: bytes) -> None:
        for cut in range(6, len(packed)):
            found, code = read(packed[:cut])
            assert code is Code.ARCHIVE_CORRUPT, cut
            assert all(member.data in (b"a" * 700, b"b" * 3) for member in found)

    @pytest.mark.parametrize("packed", PACKED, ids=["gz", "bz2", "xz"])
    def test_a_flipped_byte_is_not_silent(self, packed: bytes) -> None:
        unpack = {b"\x1f": gzip.decompress, b"B": bz2.decompress}.get(packed[:1], lzma.decompress)
        for at in range(6, len(packed)):
            data = bytearray(packed)
            data[at] ^= 0x04
            found, code = read(bytes(data))
            if code is None:  # a time stamp or the bits that fill up the last byte
                assert unpack(bytes(data)) == TWO, at
                assert len(found) == 2
            else:
                assert code in (Code.ARCHIVE_CORRUPT, Code.ARCHIVE_LIMIT)


def zip_of(
    *files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data, method)
    return out.getvalue()


def patched(data: bytes, local: int, central: int, form: str, value: int) -> bytes:
    """A field changed in the first entry's local header and in the directory."""
    out = bytearray(data)
    struct.pack_into("<" + form, out, local, value)
    struct.pack_into("<" + form, out, data.index(b"PK\x01\x02") + central, value)
    return bytes(out)


def codes(found: Sequence[Member]) -> list[Code | None]:
    return [member.error.code if member.error else None for member in found]


class TestZip:
    SOUND = zip_of(("a.tif", b"a" * 700), ("b.tif", b"bbb"))

    @pytest.mark.parametrize(
        "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    )
    def test_members_in_their_order(self, method: int) -> None:
        files = [("z.tif", b"z" * 900), (PARTICLE, b"p"), ("caf\u00e9.tif", b""), ("../up", b"u")]
        assert contents(zip_of(*files, method=method)) == files

    def test_folders_have_neither_bytes_nor_error(self) -> None:
        assert contents(zip_of(("dir/", b""), ("dir/a", b"a"))) == [("dir/", None), ("dir/a", b"a")]

    def test_a_symbolic_link_is_unsafe(self) -> None:
        link = zipfile.ZipInfo("link.tif")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        found, code = read(zip_of((link, b"/etc/passwd"), ("b.tif", b"b")))
        assert code is None
        assert codes(found) == [Code.ARCHIVE_UNSAFE, None]

    def test_an_encrypted_member_is_unsafe(self) -> None:
        found, code = read(patched(self.SOUND, 6, 8, "H", 1))
        assert code is None
        assert codes(found) == [Code.ARCHIVE_UNSAFE, None]

    def test_an_unsupported_method(self) -> None:
        found, code = read(patched(self.SOUND, 8, 10, "H", 19))
        assert code is None
        assert codes(found) == [Code.UNSUPPORTED_FORMAT, None]

    def test_a_bad_checksum_costs_only_its_member(self) -> None:
        found, code = read(patched(self.SOUND, 14, 16, "I", 7))
        assert code is None
        assert codes(found) == [Code.CORRUPT_IMAGE, None]

    def test_a_zip64_archive(self) -> None:
        out = io.BytesIO()
        with (
            zipfile.ZipFile(out, "w") as archive,
            archive.open(zipfile.ZipInfo("a.tif"), "w", force_zip64=True) as member,
        ):
            member.write(b"abc")
        assert contents(out.getvalue()) == [("a.tif", b"abc")]

    def test_an_empty_zip_has_no_members(self) -> None:
        assert contents(zip_of()) == []

    def test_two_members_of_one_name_are_both_read(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # zipfile warns the writer
            data = zip_of(("a.tif", b"1"), ("a.tif", b"2"))
        assert contents(data) == [("a.tif", b"1"), ("a.tif", b"2")]

    def test_a_nul_in_a_name_is_kept(self) -> None:
        data = self.SOUND.replace(b"a.tif", b"a\0tif")
        found, code = read(data)
        assert code is None
        assert [member.name for member in found] == ["a\0tif", "b.tif"]

    def test_every_prefix_is_corrupt(self) -> None:
        for cut in range(4, len(self.SOUND)):
            found, code = read(self.SOUND[:cut])
            assert code is Code.ARCHIVE_CORRUPT, cut
            whole = [member.data for member in found if not member.error]
            assert whole == [b"a" * 700, b"bbb"][: len(whole)], cut
            assert all(c is Code.CORRUPT_IMAGE for c in codes(found[len(whole) :])), cut

    def test_without_its_directory_its_members_are_read(self) -> None:
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            data = zip_of(("a.tif", b"a" * 700), ("caf\u00e9.tif", b"bbb"), method=method)
            found, code = read(data[: data.index(b"PK\x01\x02")])
            assert code is Code.ARCHIVE_CORRUPT
            assert not Code.ARCHIVE_CORRUPT.retryable
            assert [(m.name, m.data) for m in found] == [
                ("a.tif", b"a" * 700), ("caf\u00e9.tif", b"bbb"),
            ]  # fmt: skip

    @pytest.mark.parametrize("field", [8, 10, 12, 16, 20])
    @pytest.mark.parametrize("value", [0, 1, 7, 0x7F, 0xFF])
    def test_a_damaged_end_record_costs_no_member(self, field: int, value: int) -> None:
        end = self.SOUND.rindex(b"PK\x05\x06")
        data = bytearray(self.SOUND)
        for byte in range(2):
            data[end + field + byte] = value
        found, code = read(bytes(data))
        assert [(m.name, m.data) for m in found] == [("a.tif", b"a" * 700), ("b.tif", b"bbb")]
        assert code in (None, Code.ARCHIVE_CORRUPT)

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_streamed_members_are_found_by_their_descriptors(self, method: int) -> None:
        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

            def tell(self) -> int:
                raise io.UnsupportedOperation

        out = Pipe()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a.tif", b"a" * 70_000)
            archive.writestr("b.tif", b"")
        data = out.getvalue()
        found, code = read(data[: data.index(b"PK\x01\x02")])
        assert code is Code.ARCHIVE_CORRUPT
        assert [(m.name, m.data) for m in found] == [("a.tif", b"a" * 70_000), ("b.tif", b"")]

    def test_a_damaged_member_costs_only_itself_without_the_directory(self) -> None:
        data = bytearray(self.SOUND[: self.SOUND.index(b"PK\x01\x02")])
        data[self.SOUND.index(b"b.tif") - 20] ^= 1  # a byte of the second one's checksum field
        data[38] ^= 0xFF
        found, _ = read(bytes(data))
        assert [m.name for m in found] == ["a.tif", "b.tif"]
        assert found[0].error
        assert found[0].error.code is Code.CORRUPT_IMAGE

    def test_a_bomb_is_no_less_one_without_the_directory(self) -> None:
        data = zip_of(("zeros.tif", bytes(20_000_000)), ("b.tif", b"b"))
        cut = data[: data.index(b"PK\x01\x02")]
        found, code = read(cut)
        assert codes(found) == [Code.DECOMPRESSION_BOMB, None]
        assert code is Code.ARCHIVE_CORRUPT
        assert read(cut, Limits(members=1))[1] is Code.ARCHIVE_LIMIT
        found, _ = read(cut, Limits(member_bytes=1_000_000))
        assert codes(found) == [Code.TOO_LARGE, None]
        data = zip_of(("zeros.tif", bytes(4_000_000)))
        cut = data[: data.index(b"PK\x01\x02")]
        assert read(cut, Limits(ratio=20, free_bytes=1_000)) == ([], Code.ARCHIVE_LIMIT)

    def test_too_many_members(self) -> None:
        assert read(self.SOUND, Limits(members=1)) == ([], Code.ARCHIVE_LIMIT)

    def test_a_bomb_is_refused_whole(self) -> None:
        data = zip_of(("zeros.tif", bytes(4_000_000)))
        assert read(data, Limits(ratio=20, free_bytes=100_000)) == ([], Code.ARCHIVE_LIMIT)

    def test_entries_that_share_their_bytes_are_counted_each(self) -> None:
        data = zip_of(("zeros.tif", bytes(1_000_000)))
        at = data.index(b"PK\x01\x02")
        entry, end = data[at:-22], bytearray(data[-22:])
        struct.pack_into("<HHI", end, 8, 50, 50, len(entry) * 50)
        bomb = data[:at] + entry * 50 + bytes(end)
        assert read(bomb, Limits(free_bytes=2_000_000)) == ([], Code.ARCHIVE_LIMIT)

    def test_a_member_of_absurd_ratio_is_a_bomb(self) -> None:
        found, code = read(zip_of(("zeros.tif", bytes(20_000_000)), ("b.tif", b"b")))
        assert code is None
        assert codes(found) == [Code.DECOMPRESSION_BOMB, None]

    def test_a_member_that_lies_about_its_size_is_corrupt(self) -> None:
        found, code = read(patched(self.SOUND, 22, 24, "I", 699))
        assert code is None
        assert codes(found) == [Code.CORRUPT_IMAGE, None]

    def test_a_member_beyond_the_cap_costs_only_itself(self) -> None:
        found, code = read(self.SOUND, Limits(member_bytes=500))
        assert code is None
        assert codes(found) == [Code.TOO_LARGE, None]

    @given(
        st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
    )
    @settings(max_examples=400)
    def test_no_damage_raises_anything_else(
        self, changes: list[tuple[int, int]], method: int
    ) -> None:
        data = bytearray(zip_of(("a.tif", b"a" * 700), ("\u00e9.tif", b"bbb"), method=method))
        for at, value in changes:
            data[at % len(data)] = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found, code = read(bytes(data))
        assert Code.INTERNAL not in {*codes(found), code}


class TestStreams:
    @pytest.mark.parametrize(
        "name", ["a.tar", "A.TAR", "a.tgz", "a.tar.gz", "a.tar.bz2", "a.tbz2", "a.txz", "a.zip"]
    )
    def test_archives_are_known_by_name(self, name: str) -> None:
        assert is_archive(name)

    @pytest.mark.parametrize("name", ["a.tif", "tar", "a.tar.tif", "a.gz", "a.7z", "a.rar", ""])
    def test_others_are_not(self, name: str) -> None:
        assert not is_archive(name)

    @pytest.mark.parametrize(
        "data",
        [TWO, TestZip.SOUND, zip_of(), gzip.compress(TWO), bz2.compress(TWO), lzma.compress(TWO)],
    )
    def test_archives_are_known_by_content(self, data: bytes) -> None:
        assert looks_like_archive(data[:512])

    @pytest.mark.parametrize("data", [b"", b"II*\0" + bytes(600), b"\x89PNG\r\n\x1a\n", b"PK"])
    def test_other_content_is_not(self, data: bytes) -> None:
        assert not looks_like_archive(data[:512])

    def test_nothing_is_written_to_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("TMPDIR", "TEMP", "TMP"):
            monkeypatch.setenv(name, str(tmp_path))
        names = ("a.tif", "../up.tif", str(tmp_path / "absolute.tif"), "x/y.tif")
        files = [(name, b"abc") for name in names]
        for data in (tar_of(*files), gzip.compress(tar_of(*files)), zip_of(*files)):
            assert len(read(data)[0]) == len(files)
        assert list(tmp_path.rglob("*")) == []
        assert not (tmp_path.parent / "up.tif").exists()

    @pytest.mark.parametrize("data", [TWO, gzip.compress(TWO), bz2.compress(TWO)])
    def test_a_failing_disk_is_not_called_corrupt(self, data: bytes) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() > 0:
                    raise OSError(5, "Input/output error")
                return super().read(1 if size is None else min(size, 512))

        with pytest.raises(OSError, match="Input/output"):
            list(members(Failing(data), len(data)))

    def test_a_zlib_error_is_typed(self) -> None:
        packed = bytearray(gzip.compress(random.Random(2).randbytes(5000), mtime=0))
        packed[10] = 0xFF
        assert read(bytes(packed)) == ([], Code.ARCHIVE_CORRUPT)
        with pytest.raises(zlib.error):
            gzip.decompress(bytes(packed))
