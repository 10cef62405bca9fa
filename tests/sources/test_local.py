"""Archives and loose files on disk: their content, and odd ones."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from discovered import POSIX, code, fill, items, tar_at, units

from pi10_classifier.errors import Code, SettingError
from pi10_classifier.sources.base import Limits
from pi10_classifier.sources.local import read_whole


class TestContent:
    def test_a_single_file(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "b.tif")
        [item] = items(tmp_path / "a.tif")
        assert (item.member, item.data) == ("a.tif", b"a.tif")
        assert item.source == tmp_path.as_posix()

    def test_an_archive_without_its_suffix_is_known_by_content(self, tmp_path: Path) -> None:
        path = tar_at(tmp_path / "download", **{"a.tif": b"abc"})
        [item] = items(path)
        assert (item.source, item.member, item.data) == (path.as_posix(), "a.tif", b"abc")

    def test_a_file_that_is_no_image_is_not_read(self, tmp_path: Path) -> None:
        fill(tmp_path, "film.mp4")
        (tmp_path / "film.bin").write_bytes(b"II*\0 an image after all")
        image, film = items(tmp_path)
        assert image.data == b"II*\0 an image after all"
        assert (film.data, film.error) == (None, None)

    def test_an_empty_file_has_no_bytes_and_an_empty_archive_fails(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").touch()
        (tmp_path / "b.tar").touch()
        outcome = {item.member: (item.data, code(item)) for item in items(tmp_path)}
        assert outcome == {"a.tif": (b"", None), "": (None, Code.EMPTY_OBJECT)}

    def test_a_cut_archive_gives_its_members_and_a_failure(self, tmp_path: Path) -> None:
        path = tar_at(tmp_path / "a.tar", **{"1.tif": b"1" * 600, "2.tif": b"2" * 600})
        path.write_bytes(path.read_bytes()[:2500])
        first, failure = items(path)
        assert first.data == b"1" * 600
        assert (failure.member, code(failure)) == ("", Code.ARCHIVE_CORRUPT)

    def test_a_file_beyond_the_cap_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.tif").write_bytes(b"x" * 101)
        found = units(tmp_path, limits=Limits(member_bytes=100))
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
        monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
        assert [code(item) for unit in found for item in unit.items()] == [Code.TOO_LARGE]

    @pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
    def test_a_bigtiff_of_4_gb_costs_no_memory(self, tmp_path: Path) -> None:
        with (tmp_path / "huge.tif").open("wb") as out:
            out.write(b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + bytes(64))
            out.truncate(2**32 + 100)
        script = """
            import re, sys
            from pathlib import Path
            from pi10_classifier.imaging.decode import decode
            from pi10_classifier.sources.discovery import discover
            for unit in discover([sys.argv[1]]):
                for item in unit.items():
                    print(item.member, item.error.code if item.error else decode(item.data))
            print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
            capture_output=True, text=True, timeout=100, check=True,
        )  # fmt: skip
        said, peak_kb = done.stdout.splitlines()
        assert said == "huge.tif too_large"
        assert int(peak_kb) < 300_000


class TestOddFiles:
    @POSIX
    @pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names")
    def test_undecodable_names_can_be_written_and_told_apart(self, tmp_path: Path) -> None:
        folder = os.fsencode(tmp_path) + b"/caf\xe9"
        Path(os.fsdecode(folder)).mkdir()
        for name in (b"a\xff.tif", b"a\xfe.tif"):
            Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
        tar_at(Path(os.fsdecode(folder + b"/1450\xe9.tar")), **{"x.tif": b"x"})
        for root in (tmp_path, Path(os.fsdecode(folder))):
            found = units(root)
            texts = [text for u in found for text in (u.name, u.group, u.fingerprint)]
            for item in (item for unit in found for item in unit.items()):
                texts += [item.source, item.member]
                assert item.data in (b"a\xff.tif", b"a\xfe.tif", b"x")
            assert "\\xe9" in "".join(texts)
            assert "".join(texts).encode("utf-8")
            assert len({unit.name for unit in found}) == len(found)
        single = Path(os.fsdecode(folder + b"/a\xff.tif"))
        assert [(i.member, i.data) for i in items(single)] == [("a\\xff.tif", b"a\xff.tif")]

    @POSIX
    def test_a_link_back_to_a_folder_above_ends(self, tmp_path: Path) -> None:
        fill(tmp_path, "d/a.tif")
        (tmp_path / "d" / "loop").symlink_to(tmp_path)
        assert [item.member for item in items(tmp_path)] == ["d/a.tif"]

    @POSIX
    def test_links_to_files_and_folders_are_followed(self, tmp_path: Path) -> None:
        fill(tmp_path, "real/a.tif", "in/b.tif")
        (tmp_path / "in" / "link.tif").symlink_to(tmp_path / "real" / "a.tif")
        (tmp_path / "in" / "folder").symlink_to(tmp_path / "real")
        assert [i.member for i in items(tmp_path / "in")] == ["b.tif", "link.tif", "folder/a.tif"]

    @POSIX
    def test_a_link_to_nothing_is_gone(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").symlink_to(tmp_path / "nothing")
        (tmp_path / "self.tif").symlink_to(tmp_path / "self.tif")
        assert [code(item) for item in items(tmp_path)] == [
            Code.OBJECT_GONE, Code.OBJECT_UNREADABLE,
        ]  # fmt: skip

    @POSIX
    @pytest.mark.timeout(30)
    def test_a_fifo_is_not_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.tif")
        fill(tmp_path, "b.tif")
        assert [code(item) for item in items(tmp_path)] == [Code.UNSUPPORTED_FORMAT, None]
        with pytest.raises(SettingError, match="neither a file nor a folder"):
            units(tmp_path / "a.tif")

    def test_a_file_that_vanishes_is_gone(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "b.tif", "notes.bin")
        tar_at(tmp_path / "c.tar", **{"x": b"x"})
        found = units(tmp_path)
        for name in ("a.tif", "c.tar", "notes.bin"):
            (tmp_path / name).unlink()
        outcome = {(i.member, code(i)) for unit in found for i in unit.items()}
        assert outcome == {
            ("a.tif", Code.OBJECT_GONE), ("b.tif", None),
            ("", Code.OBJECT_GONE), ("notes.bin", Code.OBJECT_GONE),
        }  # fmt: skip

    def test_a_file_that_becomes_a_folder_is_unreadable(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif")
        found = units(tmp_path)
        (tmp_path / "a.tif").unlink()
        (tmp_path / "a.tif").mkdir()
        [item] = [item for unit in found for item in unit.items()]
        assert code(item) is Code.OBJECT_UNREADABLE

    @POSIX
    def test_what_may_not_be_read_is_unreadable(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "closed/b.tif")
        (tmp_path / "a.tif").chmod(0)
        (tmp_path / "closed").chmod(0)
        try:
            if os.access(tmp_path / "a.tif", os.R_OK):
                pytest.skip("this user may read everything")
            outcome = [(item.member, code(item)) for item in items(tmp_path)]
        finally:
            (tmp_path / "closed").chmod(stat.S_IRWXU)
        unreadable = Code.OBJECT_UNREADABLE
        assert outcome == [("a.tif", unreadable), ("closed", unreadable)]

    @pytest.mark.parametrize(
        "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")]
    )
    def test_a_disk_that_refuses_is_unreadable_and_retryable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
    ) -> None:
        fill(tmp_path, "a.tif", "b.tar")

        def refuse(*_: object, **__: object) -> None:
            raise error

        found = units(tmp_path)
        monkeypatch.setattr(Path, "open", refuse)  # of archives
        monkeypatch.setattr(os, "open", refuse)  # of files
        outcome = [item for unit in found for item in unit.items()]
        assert [code(item) for item in outcome] == [Code.OBJECT_UNREADABLE] * 2
        assert all(item.error and item.error.code.retryable for item in outcome)


@pytest.mark.parametrize("listed", [0, 1, 5, 6, 7, 3_000_000])
def test_all_of_a_file_is_read_whatever_its_size_was_when_it_was_found(
    tmp_path: Path, listed: int
) -> None:
    (tmp_path / "grown.tif").write_bytes(b"pixels")
    assert read_whole(tmp_path / "grown.tif", listed) == b"pixels"


def test_a_file_longer_than_one_read_is_read_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 12_000
    (tmp_path / "grown.tif").write_bytes(data)
    assert read_whole(tmp_path / "grown.tif", 10) == data
