"""Files, folders and archives on disk as a stream of items."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from discovered import POSIX, code, fill, items, tar_at, units

from pi10_classifier.errors import Code, SettingError
from pi10_classifier.sources import local
from pi10_classifier.sources.discovery import check_inputs, discover
from pi10_classifier.sources.input_rules import SkippedPaths
from pi10_classifier.sources.local import FileBlock, LocalArchive


class TestOrder:
    def test_loose_files_then_folders_by_name(self, tmp_path: Path) -> None:
        fill(tmp_path, "b.tif", "a.tif", "c/a.tif", "B.tif", "a/z.tif", "a/b/c.tif")
        assert [item.member for item in items(tmp_path)] == [
            "B.tif", "a.tif", "b.tif", "a/z.tif", "a/b/c.tif", "c/a.tif",
        ]  # fmt: skip

    def test_archives_of_a_folder_are_units(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "d/b.tif")
        tar_at(tmp_path / "1450.tar", **{"x.tif": b"x"})
        tar_at(tmp_path / "d" / "1500.tar", **{"y.tif": b"y"})
        found = items(tmp_path)
        assert {(Path(i.source).name, i.member) for i in found} == {
            (tmp_path.name, "a.tif"), (tmp_path.name, "d/b.tif"),
            ("1450.tar", "x.tif"), ("1500.tar", "y.tif"),
        }  # fmt: skip

    def test_inputs_keep_their_order_and_count_once(self, tmp_path: Path) -> None:
        fill(tmp_path, "a/1.tif", "b/2.tif")
        a, b = tmp_path / "a", tmp_path / "b"
        assert [item.member for item in items(b, a, b)] == ["2.tif", "1.tif"]

    def test_blocks_hold_all_files_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local, "BLOCK_FILES", 3)
        names = [f"{number}.tif" for number in range(8)]
        fill(tmp_path, *names)
        found = units(tmp_path)
        assert [unit.name[-7:] for unit in found] == ["#000000", "#000001", "#000002"]
        assert {unit.group for unit in found} == {tmp_path.as_posix()}
        assert [item.member for unit in found for item in unit.items()] == names

    def test_a_full_last_block_is_not_followed_by_an_empty_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local, "BLOCK_FILES", 2)
        fill(tmp_path, "1.tif", "2.tif")
        assert len(units(tmp_path)) == 1

    def test_an_empty_folder_has_no_units(self, tmp_path: Path) -> None:
        assert units(tmp_path) == []

    @POSIX
    def test_folders_a_thousand_deep(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for _ in range(1_200):
            Path("d").mkdir()
            os.chdir("d")
        file = Path("a.tif")
        file.write_bytes(b"a")
        deepest = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)
        try:
            [item] = items(".")
        finally:  # neither can pytest remove what is so deep
            os.fchdir(deepest)
            os.close(deepest)
            file.unlink()
            for _ in range(1_200):
                os.chdir("..")
                Path("d").rmdir()
        assert (item.data, item.member.count("/")) == (b"a", 1_200)


class TestLeftOut:
    def test_litter_is_neither_entered_nor_read(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "b/@eaDir/a.tif", ".Trash-1/a.tif", "b/.a.tif.Qx7A2b", "c.tar.part")
        notes = SkippedPaths()
        found = [i for unit in discover([str(tmp_path)], notes=notes) for i in unit.items()]
        assert [(i.member, i.data) for i in found] == [
            ("a.tif", b"a.tif"), ("c.tar.part", None), ("b/.a.tif.Qx7A2b", None),
        ]  # fmt: skip
        [said] = notes.warnings()
        assert said.startswith("2 hidden or system folders")

    def test_what_is_named_is_read(self, tmp_path: Path) -> None:
        fill(tmp_path, ".cache/x/b.tif")
        image = b"II*\0 an image"
        (tmp_path / ".cache/x/.a.tif").write_bytes(image)
        assert [i.data for i in items(tmp_path / ".cache/x")] == [None, b".cache/x/b.tif"]
        assert [i.data for i in items(tmp_path / ".cache/x/.a.tif")] == [image]

    @POSIX
    def test_a_folder_that_links_reach_counts_once(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/z/1.tif", "out/2.tif", "other/3.tif")
        for name in ("a", "b"):
            (tmp_path / "in" / name).symlink_to(tmp_path / "in/z")
            (tmp_path / "in" / f"{name}-out").symlink_to(tmp_path / "out")
        (tmp_path / "in" / "also").symlink_to(tmp_path / "other")
        notes = SkippedPaths()
        given = [str(tmp_path / "in"), str(tmp_path / "other")]
        found = [i.member for u in discover(given, notes=notes) for i in u.items()]
        assert found == ["z/1.tif", "3.tif", "a-out/2.tif"]
        assert notes.warnings()[0].startswith("4 folders were reached again through links")

    @POSIX
    def test_an_image_or_archive_that_links_reach_counts_once(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/z.tif", "out/y.tif", "in/b/HitsMisses.txt")
        tar_at(tmp_path / "in/t.tar", **{"x.tif": b"x"})
        os.link(tmp_path / "in/z.tif", tmp_path / "in/b/hard.tif")
        os.link(tmp_path / "in/t.tar", tmp_path / "in/b/t.tar")
        os.link(tmp_path / "in/b/HitsMisses.txt", tmp_path / "in/HitsMisses.txt")
        (tmp_path / "in/soft.tif").symlink_to("z.tif")
        for name in ("1.tif", "2.tif"):
            (tmp_path / "in" / name).symlink_to(tmp_path / "out/y.tif")
        notes = SkippedPaths()
        found = [i for u in discover([str(tmp_path / "in")], notes=notes) for i in u.items()]
        read = [i.member for i in found if i.data is not None]
        assert read == ["x.tif", "1.tif", "HitsMisses.txt", "z.tif", "b/HitsMisses.txt"]
        assert notes.warnings() == [
            "4 files were reached again through links and counted once: "
            + ", ".join((tmp_path / "in" / n).as_posix() for n in ("2.tif", "soft.tif"))
            + f", {(tmp_path / 'in/b/hard.tif').as_posix()} and 1 more"
        ]
        labelled = discover([str(tmp_path / "in")], files_once=False)
        assert len([i for u in labelled for i in u.items() if i.data is not None]) == 9

    def test_of_twins_in_a_folder_the_largest_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However far apart they are listed."""
        monkeypatch.setattr(local, "BLOCK_FILES", 2)
        name = "pia7.2024-06-24.1450+N00000007"
        fill(tmp_path, "a.tif", "b.tif", "c.tif", f"{name}.tif")
        (tmp_path / f"{name.upper()}.TIFF").write_bytes(b"cut")
        (tmp_path / "c.tiff").write_bytes(b"5 bytes more")
        found = items(tmp_path)
        lost = {i.member for i in found if code(i) is Code.REPEATED_NAME}
        if len(found) == 6:  # else the file system knows no case
            assert lost == {f"{name.upper()}.TIFF", "c.tif"}
        before = {u.name: u.fingerprint for u in units(tmp_path)}
        (tmp_path / "c.tiff").unlink()
        after = {u.name: u.fingerprint for u in units(tmp_path)}
        assert before != after


class TestFingerprints:
    def test_change_with_size_time_and_name(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "b.tif")
        tar = tar_at(tmp_path / "c.tar", **{"x": b"x"})

        def now() -> tuple[str, ...]:
            return tuple(sorted(unit.fingerprint for unit in units(tmp_path)))

        seen = [now()]
        assert now() == seen[0]
        os.utime(tmp_path / "a.tif", ns=(1, 1))
        seen.append(now())
        (tmp_path / "b.tif").rename(tmp_path / "b2.tif")
        seen.append(now())
        os.utime(tar, ns=(1, 1))
        seen.append(now())
        tar_at(tar, **{"x": b"x" * 20_000})
        os.utime(tar, ns=(1, 1))
        seen.append(now())
        assert len(set(seen)) == len(seen)

    def test_blocks_and_archives_say_their_size(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.tif", "bb.tif")
        tar = tar_at(tmp_path / "c.tar", **{"x": b"x"})
        sizes = {type(unit): unit.size for unit in units(tmp_path)}
        assert sizes == {FileBlock: 11, LocalArchive: tar.stat().st_size}


class TestInputs:
    @pytest.mark.parametrize("text", ["http://host/a.tar", "file:///etc/passwd", "nowhere/at/all"])
    def test_what_cannot_be_an_input_is_refused(self, text: str) -> None:
        with pytest.raises(SettingError) as caught:
            check_inputs([text])
        assert text in caught.value.message

    def test_no_input_is_refused(self) -> None:
        with pytest.raises(SettingError, match="no input"):
            check_inputs([])

    def test_files_and_buckets_pass(self, tmp_path: Path) -> None:
        check_inputs([str(tmp_path), "s3://bucket/prefix"])

    def test_a_path_that_does_not_exist_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingError, match="cannot be read"):
            units(tmp_path / "nowhere")


class TestManyInputs:
    def test_files_named_one_by_one_share_blocks(self, tmp_path: Path) -> None:
        paths = [tmp_path / f"{name}.tif" for name in "cab"]
        for path in paths:
            path.write_bytes(path.stem.encode())
        units = list(discover([str(path) for path in [*paths, paths[0]]]))
        assert len(units) == 1
        assert [item.member for item in units[0].items()] == ["a.tif", "b.tif", "c.tif"]

    @pytest.mark.parametrize(
        ("outer", "inner"), [("s3://b/raw/", "s3://b/raw/a"), ("s3://b/raw/a", "s3://b/raw/ab")]
    )
    def test_a_prefix_inside_another_is_refused(self, outer: str, inner: str) -> None:
        with pytest.raises(SettingError, match="counted twice"):
            check_inputs([inner, outer])

    def test_a_file_inside_a_folder_also_given_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_bytes(b"a")
        with pytest.raises(SettingError, match="counted twice"):
            check_inputs([str(tmp_path / "a.tif"), str(tmp_path)])
