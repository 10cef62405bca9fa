"""Which names are inputs, and which of them are one file's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pi10_classifier.sources.input_rules import (
    SkippedPaths,
    is_read_elsewhere,
    normalised_name,
    skip_reason,
)

NAME = "pia7.2024-06-24.1450+N00000000"


@pytest.mark.parametrize(
    "name",
    [
        "a/", "a/.hidden.tif", "a\\.hidden.tif", ".cache/a.tif", "a/@eaDir/b.tif/THUMB_M.png",
        "@EADIR\\b.tif", ".Trash-1000/files/a.tif", "#recycle/a.tif", ".snapshot/a.tif",
        "~snapshot/hourly.0/a.tif", "$RECYCLE.BIN/a.tif", "System Volume Information/a.tif",
        "x/__MACOSX/a.tif", "lost+found/a.tif", "..data/a.tif", ".name.tif.Qx7A2b", "x.tif.part",
        "x.TMP", "x.filepart", "x.tif.crdownload", "x.tif~", "~$x.tif", ".~lock.x.tif#",
        ".nfs0000a1", "a.tif.6eF3B2c1", "1450.tar.part", "1450.tar.6eF3B2c1", "a.tif.~1~",
        "._a.tif", ".DS_Store",
    ],
)  # fmt: skip
def test_names_that_are_left_alone(name: str) -> None:
    assert skip_reason(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.tif", "RawImages\\pia7.tif", "HitsMisses.txt", "part", "notes.txt", "./a.tif",
        "../a.tif", "a.b/c.tif", "eaDir/a.tif", "trash/a.tif", "a#recycle/b.tif", "snapshot/a.tif",
        "a.tif.20240624", "1450.tar", "x@y.tif", "é ü.tif", "a.temporary.tif",
    ],
)  # fmt: skip
def test_others_are_inputs(name: str) -> None:
    assert not skip_reason(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RawImages\\a.tif", "RawImages/a.tif"),
        ("a.tif", "./a.tif"),
        ("b//a.tif", "b/./a.tif"),
        ("a.tif", "a.TIFF"),
        ("a.JPG", "a.jpeg"),
        ("caf\u00e9/\u00fc.tif", "cafe\u0301/u\u0308.tif"),
        (f"{NAME}.tif", f"{NAME.upper()}.TIF"),
    ],
)
def test_spellings_of_one_file(one: str, other: str) -> None:
    assert normalised_name(one) == normalised_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.tif", "A.tif"), ("a.tif", "a.png"), ("a/1.tif", "b/1.tif"), ("a.tif", "a.tif.tif"),
        (f"a/{NAME}.tif", f"b/{NAME}.tif"), ("a", "b"),
    ],
)  # fmt: skip
def test_names_of_two_files(one: str, other: str) -> None:
    assert normalised_name(one) != normalised_name(other)


def test_notes_name_a_few_and_count_all() -> None:
    notes = SkippedPaths()
    assert notes.warnings() == []
    for number in range(1200):
        notes.add_folder(f"f{number}")
    notes.add_repeated_folder("g")
    assert notes.warnings() == [
        "1,200 hidden or system folders were skipped: f0, f1, f2 and 1,197 more",
        "1 folders were reached again through links and counted once: g",
    ]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_into_what_is_left_out_is_the_only_way_to_its_file(tmp_path: Path) -> None:
    """As git-annex keeps files."""
    (tmp_path / ".git").mkdir()
    for name in (".git/object.tif", "a.tif"):
        (tmp_path / name).write_bytes(b"a")
    for link, target in (("1.tif", ".git/object.tif"), ("2.tif", "a.tif"), ("3.tif", "3.tif")):
        (tmp_path / link).symlink_to(tmp_path / target)
    found = [is_read_elsewhere(tmp_path / f"{n}.tif", [tmp_path.resolve()]) for n in (1, 2, 3)]
    assert found == [False, True, False]
