"""The index and the plan: lines, ranges, partitions; a stream whatever its length."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from minio.datatypes import Object

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.batch.plan import Message
from pi10_classifier.oscar.batch.published import Marks
from pi10_classifier.oscar.batch.units import (
    NO_DAY,
    PlannedUnit,
    digest,
    partition_of,
    read_units,
    write_units,
)
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.sources.base import LIMITS
from pi10_classifier.sources.input_rules import SkippedPaths
from pi10_classifier.sources.s3 import BLOCK_OBJECTS, stored_units

PLACE = BucketFolder("pi10", "rapid")


class Keys:
    """A store that lists these keys."""

    def __init__(self, keys: Any) -> None:
        self.keys = keys

    def objects(self, bucket: str, prefix: str) -> Iterator[Object]:
        for key in self.keys:
            yield Object(bucket, key, etag="e", size=10)


def planned(keys: Any, cruise: str = "") -> tuple[list[bytes], list[PlannedUnit]]:
    index, table = io.BytesIO(), io.BytesIO()
    units = stored_units(Keys(keys), "pi10", "rapid/", LIMITS)  # type: ignore[arg-type]
    found = write_units(units, PLACE, index, table, cruise)
    lines = index.getvalue().split(b"\n")[:-1]
    rows = [PlannedUnit.from_line(line) for line in table.getvalue().splitlines()]
    assert (found.lines, found.units) == (len(lines), len(rows))
    return lines, rows


def test_a_line_is_a_path_as_the_mount_sees_it_and_a_unit_knows_its_lines() -> None:
    loose = [f"rapid/loose é/{n:05}.tif" for n in range(BLOCK_OBJECTS + 2)]
    lines, units = planned(["rapid/2024-06-24/1450.tar", *loose])
    assert lines[0] == b"/mnt/pi10/rapid/2024-06-24/1450.tar"
    assert lines[1].decode() == f"/mnt/pi10/{loose[0]}"
    # 1-based, the end exclusive, one after the other, none empty
    assert [(u.start, u.end) for u in units] == [(1, 2), (2, 1026), (1026, 1028)]
    assert units[0].is_archive and not units[1].is_archive
    assert [u.size for u in units] == [10, 10 * BLOCK_OBJECTS, 20]
    whole = b"".join(line + b"\n" for line in lines)
    for unit in units:
        own = whole[unit.at : unit.at + unit.length]
        assert digest(own) == unit.sha256
        assert own == b"".join(line + b"\n" for line in lines[unit.start - 1 : unit.end - 1])


@pytest.mark.parametrize(
    ("key", "cruise", "day"),
    [
        ("surveys/rapid/2024-06-24/1450.tar", "rapid", "2024-06-24"),
        ("2024-06-24/1450.tar", "here", "2024-06-24"),
        ("rapid/2024-06-24/1450/RawImages/a.tif", "rapid", "2024-06-24"),
        ("rapid/loose/a.tif", "here", NO_DAY),
        ("rapid/2024-06-24.tar", "here", NO_DAY),
        ("old/2023-01-01/rapid/2024-06-24/1.tar", "rapid", "2024-06-24"),
    ],
)
def test_cruise_and_day_are_the_folders(key: str, cruise: str, day: str) -> None:
    assert partition_of(key, "here") == (cruise, day)


def test_a_cruise_given_is_that_of_all() -> None:
    _, units = planned(["rapid/a/2024-06-24/1.tar", "rapid/b/2024-06-24/1.tar"], "all/of it")
    assert {u.partition for u in units} == {"cruise=all%2Fof%20it/date=2024-06-24"}


def test_a_line_break_in_a_key_makes_no_line_more() -> None:
    lines, units = planned(["rapid/a\nb.tar", "rapid/c\r.tar", "rapid/d.tar"])
    assert len(lines) == 3 and units[2].start == 3
    assert lines[0].decode() == "/mnt/pi10/rapid/a\ufffdb.tar"


def test_the_name_of_a_part_says_of_what_it_is_a_result() -> None:
    _, [unit] = planned(["rapid/2024-06-24/1450.tar"])
    _, [other] = planned(["rapid/2024-06-25/1450.tar"])
    changed = PlannedUnit.from_line(unit.to_line().replace(b'"10-e"', b'"10-f"'))
    assert changed.fingerprint == "10-f"
    stems = {unit.stem("a"), unit.stem("b"), other.stem("a"), changed.stem("a")}
    assert len(stems) == 4
    assert all(stem.startswith("1450.tar-") for stem in stems)


def test_a_plan_is_read_from_any_of_its_lines(tmp_path: Path) -> None:
    _, units = planned([f"rapid/2024-06-24/{n:04}.tar" for n in range(5)])
    table = tmp_path / "units.jsonl"
    table.write_bytes(b"".join(unit.to_line() for unit in units))
    places = [at for at, _ in read_units(table)]
    assert [unit for _, unit in read_units(table, places[3])] == units[3:]
    with pytest.raises(SettingError, match="cannot be read at byte 1"):
        list(read_units(table, 1))


@pytest.mark.parametrize("loose", [False, True], ids=["archives", "images"])
def test_memory_does_not_grow_with_the_listing(tmp_path: Path, loose: bool) -> None:
    def peak(count: int) -> int:
        ending = "tif" if loose else "tar"
        keys = (f"rapid/2024-06-24/{n:08}.{ending}" for n in range(count))
        units = stored_units(Keys(keys), "pi10", "rapid/", LIMITS)  # type: ignore[arg-type]
        tracemalloc.start()
        with (tmp_path / "i").open("wb") as index, (tmp_path / "t").open("wb") as table:
            write_units(units, PLACE, index, table)
        done = Marks(unit.path("x") for _, unit in read_units(tmp_path / "t"))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(done) == (-(-count // BLOCK_OBJECTS) if loose else count)
        return most

    few, many = peak(2048), peak(16_384)
    # the marks are the one thing that grows: 8 bytes a unit, held a few times over
    assert many - few < 14_336 * 64 + 200_000


def test_marks_know_what_they_were_given() -> None:
    marks = Marks(str(n) for n in range(1000))
    assert all(str(n) in marks for n in range(1000))
    assert not any(str(n) in marks for n in range(1000, 3000))
    both = marks.both(Marks(str(n) for n in range(990, 2000)))
    assert [n for n in range(2000) if str(n) in both] == list(range(990, 1000))
    assert "a" not in Marks(())


def test_messages_are_those_of_the_published_coordinator() -> None:
    assert Message.parse('{"start": 3, "end": 9}') == Message(3, 9)
    assert Message(3, 9).to_json() == '{"start": 3, "end": 9}'
    ours = Message(3, 9, "/mnt/pi10/a b*é/.pi10-batch/plan.json", 70)
    assert Message.parse(ours.to_json()) == ours
    # passed through a shell's echo, unquoted: no runs of spaces, nothing to expand
    assert not set(ours.to_json()) & set("*?[\\$`'")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"start": 1}', '{"start": 3, "end": 3}', '{"start": 0, "end": 3}',
     '{"start": "a", "end": 3}', '{"start": 1, "end": 2, "at": -1}',
     '{"start": Infinity, "end": 2}', '{"start": 1, "end": 1000000000000000000000}',
     '{"start": 1, "end": 2, "at": 1000000000000000000000}'],
)  # fmt: skip
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(SettingError):
        Message.parse(text)


def test_litter_makes_no_units_and_is_noted() -> None:
    keys = ["rapid/.Trash-1/a.tif", "rapid/@eaDir/a.tar", "rapid/@eaDir/b.tif", "rapid/a.tif",
            "rapid/a.tif.part", "rapid/b.tar.part", "rapid/b\\@eaDir\\c.tif"]  # fmt: skip
    notes = SkippedPaths()
    units = list(stored_units(Keys(keys), "pi10", "rapid/", LIMITS, notes=notes))  # type: ignore[arg-type]
    assert [unit.keys for unit in units] == [
        ("rapid/a.tif", "rapid/a.tif.part", "rapid/b.tar.part")
    ]
    [said] = notes.warnings()
    assert said.startswith("3 hidden or system folders were skipped: s3://pi10/rapid/.Trash")
