"""Names that a spreadsheet may take for formulas: kept as they are, whatever they begin with."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import classify
from pi10_classifier.foundation.files import write_csv
from pi10_classifier.inference.settings import Settings

NAMES = ['=HYPERLINK("http://x.example","y").tif', "+1.tif", "-1+1.tif", "@SUM(1).tif",
         "\t=1.tif", "\r=1.tif", "=1\r\n=2.tif", "'=1.tif", '"=1",=2.tif']  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_table_gives_back_the_name_that_was_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "failures.csv"
    write_csv(path, ("source", "member"), [(name, name), ("a", "b")])
    with path.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [["source", "member"], [name, name], ["a", "b"]]


def test_names_of_failures_can_be_joined(tmp_path: Path, package: Path) -> None:
    names = [f"bin/{name}" for name in ("=1+1.tif", "@a.tif", "-b.tif")] + ["=cmd.tif"]
    broken = support.particle(1)[:300]
    tar = support.write_tar(tmp_path / "1450.tar", dict.fromkeys(names, broken))
    classify([str(tar)], tmp_path / "out", Settings(model=package))
    found = support.csv_of(tmp_path / "out" / "failures.csv")
    assert [row["member"] for row in found] == names
