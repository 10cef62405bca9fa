"""Inputs that are no longer there: moved ones leave, deleted ones keep their results."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import support
from watching import same_results

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.sources.base import LIMITS
from pi10_classifier.sources.local import LooseFile
from pi10_classifier.sources.s3 import S3Object
from pi10_classifier.watch.inputs.base import InputVersion
from pi10_classifier.watch.inputs.bucket import BucketPlace
from pi10_classifier.watch.inputs.departed import SeenNames, remove_missing
from pi10_classifier.watch.ledger import Entry, Ledger

Done = Callable[..., RunResult]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A bin as a folder with its sidecar, other files, a broken image and one without bytes."""
    members = support.bin_members(20)
    members |= {"Cameralog.txt": b"ok", "bad.tif": support.particle(1)[:500], "empty.tif": b""}
    support.write_folder(tmp_path / "tree/a", members)
    support.write_tar(tmp_path / "tree/tars/1500.tar", support.bin_members(
        5, support.START.replace(hour=15, minute=0), 1))  # fmt: skip
    support.write_folder(tmp_path / "tree", {"stays.tif": support.particle(99)})
    return tmp_path / "tree"


def as_classified(run: RunResult, source: Path, package: Path, tmp_path: Path) -> None:
    whole = classify([str(source)], tmp_path / "whole", Settings(model=package), overwrite=True)
    assert run.tally.totals == whole.tally.totals
    assert run.tally.warnings == whole.tally.warnings
    same_results(run.out, whole.out)


def move_folder(tree: Path) -> None:
    (tree / "a").rename(tree / "b")


def move_below(tree: Path) -> None:
    (tree / "a").rename(tree / "tars/deep")


def move_archive(tree: Path) -> None:
    (tree / "tars/1500.tar").rename(tree / "elsewhere.tar")


def move_to_another_disk(tree: Path) -> None:
    shutil.copytree(tree / "a", tree / "b")  # times are kept, inodes are not
    shutil.rmtree(tree / "a")


def rename_files(tree: Path) -> None:
    for path in sorted((tree / "a").glob("*.tif")):
        path.rename(path.with_name(f"{path.stem}-renamed.tif"))


def move_half(tree: Path) -> None:
    (tree / "b").mkdir()
    for path in sorted((tree / "a").glob("*3.tif")):
        path.rename(tree / "b" / path.name)


MOVES = [move_folder, move_below, move_archive, move_to_another_disk, rename_files, move_half]


class TestMoved:
    @pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)
    def test_between_two_starts(
        self, move: Callable[[Path], None], tree: Path, done: Done, package: Path, tmp_path: Path
    ) -> None:
        """The tables are those of `classify` over the tree as it is now."""
        done(tree)
        move(tree)
        run = done(tree)
        as_classified(run, tree, package, tmp_path)
        assert support.tables(done(tree).out) == support.tables(run.out)

    def test_with_times_that_are_new(self, tree: Path, done: Done) -> None:
        """`cp -r` and `rm -r`: images leave by their bytes; what is no image says too little."""
        done(tree)
        shutil.copytree(tree / "a", tree / "b", copy_function=shutil.copyfile)
        shutil.rmtree(tree / "a")
        run = done(tree)
        assert run.tally.totals["results"] == 26
        members = [row["member"] for row in support.rows_of(run.out)]
        assert not [member for member in members if member.startswith("a/")]

    def test_while_at_work(self, at_work: Any, tree: Path, package: Path, tmp_path: Path) -> None:
        watcher = at_work(tree, step_s=5.0, rescan_s=1.0)
        watcher.until(lambda: watcher.status and watcher.status.results == 26, "all results")
        watcher.until(lambda: watcher.status.backlog == 0, "their publication")
        move_folder(tree)
        watcher.until(lambda: watcher.status.moved >= 20, "the old names' leaving")
        watcher.until(lambda: watcher.status.backlog == 0, "the new names' publication")
        as_classified(watcher.end(), tree, package, tmp_path)

    def test_there_and_back(self, tree: Path, done: Done, package: Path, tmp_path: Path) -> None:
        done(tree)
        move_folder(tree)
        done(tree)
        (tree / "b").rename(tree / "a")
        as_classified(done(tree), tree, package, tmp_path)

    def test_deleted_first_and_back_under_another_name(
        self, tree: Path, done: Done, package: Path, tmp_path: Path
    ) -> None:
        """Moved out of the tree, and in again later."""
        done(tree)
        (tree / "a").rename(tmp_path / "aside")
        assert done(tree).tally.totals["results"] == 26
        (tmp_path / "aside").rename(tree / "b")
        as_classified(done(tree), tree, package, tmp_path)

    def test_gone_before_it_was_read(
        self, tree: Path, done: Done, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that is renamed while its files wait: their failures leave with their names."""
        from pi10_classifier.watch.publisher import PartPublisher

        images, gone = PartPublisher.images, []

        def late(self: PartPublisher, found: Any) -> None:
            if (tree / "a").exists():
                move_folder(tree)
                gone.extend(one.name for one in found if one.name.startswith("a/"))
            images(self, found)

        with monkeypatch.context() as patch:
            patch.setattr(PartPublisher, "images", late)
            done(tree)
        assert len(gone) > 20, "they were found, and gone when they were read"
        as_classified(done(tree), tree, package, tmp_path)

    def test_copy_that_stays_counts(self, tree: Path, done: Done) -> None:
        done(tree)
        shutil.copytree(tree / "a", tree / "b")
        assert done(tree).tally.totals["results"] == 46

    def test_in_a_bucket_as_it_is_by_its_etag(self, ledger: Ledger) -> None:
        """A key that is renamed has its bytes, and a time of its own."""
        ledger.enter(_entry(1, {"a/1.tif": 7, "a/2.tif": 8}, "9-etag"), lambda: None)
        ledger.enter(_entry(2, {"b/renamed.tif": 7}, "9-etag"), lambda: None)
        ledger.new_parts.clear()
        remove_missing(ledger, _names_seen("b/renamed.tif"), lambda _: False)
        assert ledger.ask("select name, part from superseded") == [("a/1.tif", 1)]
        assert ledger.gone == 1


@pytest.mark.parametrize(("inode", "moved"), [(7, 1), (8, 0), (None, 0)])
def test_renamed_within_one_part_as_the_file_is_the_same(
    ledger: Ledger, inode: int | None, moved: int
) -> None:
    """Another number on the disk is a copy, beside which the first was deleted."""
    inputs = [("a.tif", "v", "r"), ("b.tif", "v", "r")]
    inodes = {"a.tif": 7} | ({"b.tif": inode} if inode else {})
    contents = dict.fromkeys(("a.tif", "b.tif"), 1)
    ledger.enter(Entry(1, "p", inputs, 0, 0, {}, contents=contents, inodes=inodes), lambda: None)
    ledger.new_parts.clear()
    remove_missing(ledger, _names_seen("b.tif"), lambda _: False)
    assert (ledger.moved, ledger.gone) == (moved, 1 - moved)


def test_sidecars_of_a_bucket_are_each_their_own() -> None:
    """Their versions hold no time, and those of two bins are often the same bytes."""
    place = BucketPlace("s3://bucket/in/", LIMITS, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})

    def content(name: str) -> int | None:
        return place.content(InputVersion(name, "8-etag", S3Object(name, name, 8, "etag")), None)

    assert content("1450/HitsMisses.txt") != content("1500/HitsMisses.txt")
    assert content("1450/HitsMisses.txt") == content("1450/HitsMisses.txt")
    assert content("1450/a.tif") == content("1500/a.tif")


def _entry(number: int, contents: dict[str, int], version: str, outcome: str = "r") -> Entry:
    inputs = [(name, version, outcome) for name in contents]
    return Entry(number, f"part-{number}", inputs, 0, 0, {}, contents=contents)


def _names_seen(*names: str, version: str = "v") -> SeenNames:
    seen_names = SeenNames()
    list(seen_names.record(InputVersion(n, version, LooseFile(Path(n), n, 1, 1)) for n in names))
    return seen_names


class TestDeleted:
    def test_results_are_kept_and_said(self, tree: Path, done: Done) -> None:
        before = support.tables(done(tree).out)
        shutil.rmtree(tree / "a")
        shutil.rmtree(tree / "tars")
        run = done(tree)
        after = support.tables(run.out)
        for name in ("counts.csv", "bins.csv", "failures.csv"):
            assert after[name] == before[name]
        [said] = [w for w in run.tally.warnings if "no longer exist" in w]
        assert said.startswith("26 inputs")  # 20 images, 3 that are none, 2 broken, 1 archive
        assert said in json.loads((run.out / "run.json").read_text())["warnings"]

    def test_comes_back_as_it_was(self, tree: Path, done: Done, tmp_path: Path) -> None:
        before = support.tables(done(tree).out)
        for _ in range(2):
            (tree / "a").rename(tmp_path / "away")
            done(tree)
            (tmp_path / "away").rename(tree / "a")
            run = done(tree)
            assert support.tables(run.out) == before
            assert not run.tally.warnings

    def test_comes_back_changed(self, tree: Path, done: Done, package: Path,
                                tmp_path: Path) -> None:  # fmt: skip
        done(tree)
        (tree / "stays.tif").unlink()
        done(tree)
        support.write_folder(tree, {"stays.tif": support.particle(7, side=60)})
        as_classified(done(tree), tree, package, tmp_path)

    def test_others_that_are_alike_keep_their_results(self, done: Done, tmp_path: Path) -> None:
        """Blank images and sidecars of two bins are often the same bytes."""
        blank = support.particle(1)
        for hour in (14, 15):
            start = support.START.replace(hour=hour)
            support.write_folder(tmp_path / f"tree/{hour}", {
                support.name_of(1, start): blank, "HitsMisses.txt": b"0,0\n1,3\n"})  # fmt: skip
            os.utime(tmp_path / f"tree/{hour}/HitsMisses.txt", (hour, hour))
        before = support.tables(done(tmp_path / "tree").out)
        shutil.rmtree(tmp_path / "tree/14")
        assert support.tables(done(tmp_path / "tree").out)["bins.csv"] == before["bins.csv"]

    @pytest.mark.parametrize("word", ["closed-13", "again closed-13"])
    def test_what_could_not_be_looked_at_leaves(self, ledger: Ledger, word: str) -> None:
        entry = Entry(1, "p", [("lost+found", word, "u"), ("x", "v", "r")], 1, 0, {})
        ledger.enter(entry, lambda: None)
        ledger.new_parts.clear()
        remove_missing(ledger, _names_seen("x"), lambda _: False)
        assert ledger.ask("select name from superseded") == [("lost+found",)]


class TestRoll:
    def test_what_lies_in_a_closed_folder_is_not_gone(self, ledger: Ledger) -> None:
        ledger.enter(_entry(1, {"a/1.tif": 1, "ab.tif": 2, "b/1.tif": 3}, "v"), lambda: None)
        ledger.new_parts.clear()
        seen_names = SeenNames()
        closed = InputVersion("a", "closed-13", LooseFile(Path("a"), "a", 0, 0))
        list(seen_names.record([closed]))
        remove_missing(ledger, seen_names, lambda _: False)
        assert ledger.ask("select name from away") == [("ab.tif",), ("b/1.tif",)]

    def test_what_was_entered_during_the_scan_or_is_at_work_is_not_gone(
        self, ledger: Ledger
    ) -> None:
        ledger.enter(_entry(1, {"a": 1, "b": 2}, "v"), lambda: None)
        ledger.new_parts.clear()
        ledger.enter(_entry(2, {"c": 3}, "v"), lambda: None)
        remove_missing(ledger, _names_seen(), lambda name: name == "b")
        assert ledger.ask("select name from away") == [("a",)]

    def test_many(self, ledger: Ledger) -> None:
        names = [f"{n:05}" for n in range(12_000)]
        ledger.enter(_entry(1, dict.fromkeys(names, 1), "v"), lambda: None)
        ledger.new_parts.clear()
        remove_missing(ledger, _names_seen(*names[::2]), lambda _: False)
        assert ledger.gone == 6000
        assert ledger.versions_of(names) == dict.fromkeys(names, "v")
        ledger.restore(names[:500])
        assert ledger.gone == 5750


def test_ledger_of_an_earlier_version(tree: Path, done: Done, package: Path,
                                      tmp_path: Path) -> None:  # fmt: skip
    """Without bytes' numbers: size, time and last part of the name tell."""
    out = done(tree).out
    db = sqlite3.connect(out / "journal/watch.sqlite")
    for index in ("away_content", "away_unread"):
        db.execute(f"drop index {index}")
    db.execute("drop table away")
    for column in ("content", "inode"):
        db.execute(f"alter table inputs drop column {column}")
    db.commit()
    db.close()
    move_folder(tree)
    as_classified(done(tree), tree, package, tmp_path)
