"""Folders and zips that get their names once they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.export.crate.run_files import RunFile
from pi10_classifier.export.crate.stores import grouped, new_folder, new_zip


def test_a_folder_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "crate"
    out.mkdir()
    (out / "old").write_text("old", "utf-8")
    with pytest.raises(KeyboardInterrupt), new_folder(out) as store:
        store.write("new", b"new")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["crate", "old"]


def test_a_zip_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_zip(tmp_path / "crate.zip") as store:
        store.write("new", b"new")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(10, [[4, 4], [4], [9], [30], [1, 1]]), (100, [[4, 4, 4, 9, 30, 1, 1]])],
)
def test_groups_keep_the_order_and_the_limit(
    tmp_path: Path, most: int, sizes: list[list[int]]
) -> None:
    files = []
    for number, size in enumerate([4, 4, 4, 9, 30, 1, 1]):
        path = tmp_path / str(number)
        path.write_bytes(bytes(size))
        files.append(RunFile(path, path.name))
    groups = grouped(files, most)
    assert [[file.path.stat().st_size for file in group] for group in groups] == sizes
    assert [file for group in groups for file in group] == files
