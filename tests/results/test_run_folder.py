"""The output folder: published at once or never, resumed only where results stay of one kind."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import support
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.errors import Code, Failure, OutputError, SettingError
from pi10_classifier.foundation.files import write_atomically, write_csv, write_json
from pi10_classifier.results import part_writer
from pi10_classifier.results.columns import Row, columns, schema
from pi10_classifier.results.part_writer import PartWriter
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, part_stem

SETTINGS: dict[str, Any] = {"tables": 1, "batch": 8, "classes": ["a", "b"]}
CLASSES = ("a", "b")


def opened(path: Path, *, resume: bool = False, overwrite: bool = False, **more: Any) -> RunFolder:
    folder = RunFolder(path, CLASSES)
    try:
        folder.open({**SETTINGS, **more}, resume=resume, overwrite=overwrite)
    finally:
        folder.close()  # as a run that has ended: the next may open it
    return folder


def row(number: int = 0, member: str = "m.tif") -> Row:
    when = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)
    sizes = (1.0,) * 11
    return Row(
        f"p{number}", "a.tar", member, "pia7", "pia7.2024-06-24.1450", when, 50.0, -4.0, 20, 30,
        "a", 0.75, (0.75, 0.25), *sizes, *(None,) * 7, "", "tiny", "00",
    )  # fmt: skip


def record(unit: str = "a.tar", fingerprint: str = "1", **more: Any) -> UnitRecord:
    return UnitRecord(unit, more.pop("group", ""), fingerprint, **more)


def publish(folder: RunFolder, unit: UnitRecord, rows: int = 3) -> None:
    writer = PartWriter(folder, unit.unit)
    writer.add(row(n) for n in range(rows))
    unit.inputs += rows
    unit.results += rows
    writer.publish(unit)


class TestColumns:
    def test_are_those_documented(self) -> None:
        assert columns(("copepod", "detritus", "noncopepod")) == [
            "particle_id", "source", "member", "instrument", "bin", "datetime", "latitude",
            "longitude", "width_px", "height_px", "label", "score", "score_copepod",
            "score_detritus", "score_noncopepod", "area_um2", "esd_um", "major_um", "minor_um",
            "eccentricity", "angle_deg", "feret_um", "perimeter_um", "solidity", "mean_grey",
            "grey_sd", "raising_factor", "flags", "model", "model_sha256",
        ]  # fmt: skip

    def test_kinds(self) -> None:
        kinds = {field.name: str(field.type) for field in schema(CLASSES)}
        assert kinds["datetime"] == "timestamp[s, tz=UTC]"
        assert kinds["latitude"] == "double"
        assert kinds["width_px"] == "int32"
        assert kinds["score_b"] == kinds["esd_um"] == "float"
        assert kinds["particle_id"] == kinds["flags"] == "string"


class TestPublishing:
    def test_parts_read_as_one_table(self, tmp_path: Path) -> None:
        folder = opened(tmp_path / "out")
        for name in ("a.tar", "b.tar", "empty.tar"):
            publish(folder, record(name), rows=0 if name == "empty.tar" else 3)
        table = ds.dataset(folder.parts).to_table()
        assert table.column_names == columns(CLASSES)
        assert table.num_rows == 6
        assert pq.read_table(folder.parts).num_rows == 6

    def test_rows_beyond_a_row_group(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(part_writer, "ROW_GROUP", 10)
        folder = opened(tmp_path / "out")
        writer = PartWriter(folder, "a.tar")
        for n in range(25):
            writer.add([row(n)])
        writer.publish(record())
        (part,) = folder.parts.iterdir()
        assert pq.ParquetFile(part).metadata.num_row_groups == 3
        names = pq.read_table(part).column("particle_id").to_pylist()
        assert names == [f"p{n}" for n in range(25)]

    def test_same_rows_same_bytes(self, tmp_path: Path) -> None:
        parts = []
        for name in ("one", "two"):
            publish(opened(tmp_path / name), record())
            parts += [p.read_bytes() for p in (tmp_path / name / "predictions.parquet").iterdir()]
        assert parts[0] == parts[1]

    def test_done_is_published_and_unchanged(self, tmp_path: Path) -> None:
        folder = opened(tmp_path / "out")
        assert not folder.is_done("a.tar", "1")
        publish(folder, record())
        assert folder.is_done("a.tar", "1")
        assert not folder.is_done("a.tar", "2"), "its content changed"
        assert not folder.is_done("b.tar", "1")

    def test_cut_between_journal_and_part_is_not_done(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = opened(tmp_path / "out")
        publish(folder, record(fingerprint="old"))

        class PowerCutError(BaseException):
            pass

        def cut(path: Path, data: bytes) -> None:
            write_atomically(path, data)
            raise PowerCutError

        monkeypatch.setattr(part_writer, "write_atomically", cut)
        with pytest.raises(PowerCutError):
            publish(folder, record(fingerprint="new"))
        assert not folder.is_done("a.tar", "new")
        assert not folder.is_done("a.tar", "old")
        assert list(folder.entries()) == [], "a journal entry without its part counts nothing"

    def test_cut_before_the_journal_leaves_nothing_done(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = opened(tmp_path / "out")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(part_writer, "write_atomically", full)
        writer = PartWriter(folder, "a.tar")
        writer.add([row()])
        with pytest.raises(OutputError) as caught:
            writer.publish(record())
        writer.abandon()
        assert caught.value.code is Code.DISK_FULL
        assert not folder.is_done("a.tar", "1")
        assert support.litter(tmp_path) == []

    def test_abandoned_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(part_writer, "ROW_GROUP", 1)
        folder = opened(tmp_path / "out")
        writer = PartWriter(folder, "a.tar")
        writer.add([row()])
        assert support.litter(tmp_path), "a part is being written"
        writer.abandon()
        writer.abandon()
        assert list(folder.parts.iterdir()) == []

    @pytest.mark.parametrize("code", list(Code))
    def test_what_may_succeed_is_tried_again(self, tmp_path: Path, code: Code) -> None:
        folder = opened(tmp_path / "out")
        publish(folder, record(failures=[Failure("a.tar", "x", code, "")]))
        assert folder.is_done("a.tar", "1") is not code.retryable

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"unit": "a.tar"}'])
    def test_damaged_journal_is_work_to_do_again(self, tmp_path: Path, text: str) -> None:
        folder = opened(tmp_path / "out")
        publish(folder, record())
        (entry,) = folder.journal.glob("a.tar*.json")
        entry.write_text(text)
        assert not folder.is_done("a.tar", "1")


class TestUnitNames:
    @given(st.text(min_size=1, max_size=300))
    def test_any_name_gives_a_safe_file_name(self, unit: str) -> None:
        stem = part_stem(unit)
        assert stem.isascii()
        assert not set(stem) & set('/\\:*?"<>| \0')
        assert not stem.startswith((".", "_"))  # hidden from readers of datasets
        assert len(stem) < 100

    def test_like_names_differ(self) -> None:
        names = ["x/1450.tar", "y/1450.tar", "x/1450.TAR", "x/\u00e9.tar", "x/e\u0301.tar"]
        assert len({part_stem(name).casefold() for name in names}) == len(names)

    def test_stay_what_they_are(self) -> None:
        """A changed stem would orphan the parts of runs to be resumed."""
        assert part_stem("2024-06-24/1450.tar").startswith("1450.tar-")
        assert part_stem("cruise/RawImages#000003").startswith("RawImages_000003-")


class TestOpening:
    def test_new_folder_below_new_folders(self, tmp_path: Path) -> None:
        folder = opened(tmp_path / "a" / "b")
        assert folder.parts.is_dir()

    def test_second_run_needs_a_word(self, tmp_path: Path) -> None:
        opened(tmp_path)
        with pytest.raises(SettingError, match="--resume"):
            opened(tmp_path)

    @pytest.mark.parametrize(
        ("name", "value"), [("batch", 4), ("classes", ["a", "c"]), ("added", 1), ("tables", 2)]
    )
    def test_changed_settings_are_named(self, tmp_path: Path, name: str, value: Any) -> None:
        publish(opened(tmp_path), record())
        before = support.litter(tmp_path), sorted(tmp_path.rglob("*"))
        with pytest.raises(SettingError, match=f"{name} was .*, is ") as caught:
            opened(tmp_path, resume=True, **{name: value})
        assert "--overwrite" in caught.value.message
        assert (support.litter(tmp_path), sorted(tmp_path.rglob("*"))) == before

    def test_same_settings_resume(self, tmp_path: Path) -> None:
        publish(opened(tmp_path), record())
        assert opened(tmp_path, resume=True).is_done("a.tar", "1")

    def test_resume_without_a_run_begins_one(self, tmp_path: Path) -> None:
        assert opened(tmp_path / "out", resume=True).parts.is_dir()

    def test_overwrite_begins_anew(self, tmp_path: Path) -> None:
        folder = opened(tmp_path)
        publish(folder, record())
        (folder.parts / ".b.tar-00.123.tmp").write_bytes(b"left by a kill")
        (tmp_path / "counts.csv").write_text("old")
        (tmp_path / "notes.txt").write_text("mine")
        again = opened(tmp_path, overwrite=True, batch=4)
        assert list(again.parts.iterdir()) == []
        assert [path.name for path in again.journal.glob("[!.]*")] == ["settings.json"]
        assert not (tmp_path / "counts.csv").exists()
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_litter_of_a_killed_run_is_removed(self, tmp_path: Path) -> None:
        folder = opened(tmp_path)
        for place in (tmp_path, folder.parts, folder.journal):
            (place / ".x.123.tmp").write_bytes(b"")
        opened(tmp_path, resume=True)
        assert support.litter(tmp_path) == []

    @pytest.mark.parametrize(
        "name", ["predictions.parquet/part-0.parquet", "counts.csv", "run.json", "report.html"]
    )
    @pytest.mark.parametrize("word", ["", "resume", "overwrite"])
    def test_foreign_folder_is_refused(self, tmp_path: Path, name: str, word: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("somebody's")
        with pytest.raises(SettingError, match="choose another --out"):
            opened(tmp_path, **({word: True} if word else {}))
        assert (tmp_path / name).read_text() == "somebody's"

    def test_other_files_beside_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "readme.txt").write_text("mine")
        opened(tmp_path)
        assert (tmp_path / "readme.txt").read_text() == "mine"

    def test_a_name_that_arrow_cannot_open_is_refused_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"out\xff")
        with pytest.raises(SettingError, match="not valid UTF-8"):
            opened(path)
        assert not path.exists()

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        for path in (tmp_path / "out", tmp_path / "out" / "below"):
            with pytest.raises(SettingError, match="is a file"):
                opened(path)

    @pytest.mark.parametrize("text", ["", "[]", "null", "{", "3"])
    def test_damaged_settings(self, tmp_path: Path, text: str) -> None:
        folder = opened(tmp_path)
        (folder.journal / "settings.json").write_text(text)
        with pytest.raises(SettingError):
            opened(tmp_path, resume=True)
        opened(tmp_path, overwrite=True)

    def test_a_run_begun_is_not_complete(self, tmp_path: Path) -> None:
        opened(tmp_path)
        write_json(tmp_path / "run.json", {"complete": True})
        opened(tmp_path, resume=True)
        assert not (tmp_path / "run.json").exists()


def test_blocks_of_a_shrunk_folder_are_dropped(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    for number in range(3):
        publish(folder, record(f"cruise#{number:06d}", group="cruise"))
    publish(folder, record("other#000002", group="other"))
    folder.drop_outdated_blocks({"cruise": 1}, ())
    assert {entry["unit"] for entry in folder.entries()} == {"cruise#000000", "other#000002"}
    assert len(list(folder.parts.iterdir())) == 2


def test_the_failure_of_a_folder_ends_when_the_folder_can_be_listed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = opened(tmp_path / "out")
    failure = Failure("home", "locked", Code.OBJECT_UNREADABLE, "cannot be read")
    locked = record(f"{home}#000000", group=str(home), inputs=1, results=0, failures=[failure])
    publish(folder, locked, 0)
    folder.drop_outdated_blocks({}, ())
    assert len(list(folder.entries())) == 1, "it cannot be listed yet"
    home.mkdir()
    folder.drop_outdated_blocks({}, {part_stem(locked.unit)})
    assert len(list(folder.entries())) == 1, "this run met it so"
    folder.drop_outdated_blocks({}, ())
    assert list(folder.entries()) == [] == list(folder.parts.iterdir())


HOSTILE = st.text(max_size=30) | st.sampled_from(
    [
        "a,b",
        'q"q',
        "line\nfeed",
        "lone\rreturn",
        "\r\n",
        "\0",
        "=cmd()",
        " lead",
        "é",
        "é",
        "\U0001f41f",
    ]
)


class TestCsv:
    @given(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=8))
    def test_hostile_names_come_back(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
    ) -> None:
        path = tmp_path_factory.mktemp("csv") / "t.csv"
        write_csv(path, ("source", "member"), rows)
        assert [(r["source"], r["member"]) for r in support.csv_of(path)] == rows

    def test_rows_end_in_line_feeds(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "t.csv", ("a", "b"), [(1, None), ("x\r", 2.5)])
        assert (tmp_path / "t.csv").read_bytes() == b'a,b\n1,\n"x\r",2.5\n'

    def test_undecodable_bytes_are_escaped(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "t.csv", ("a",), [("caf\udce9",)])
        assert (tmp_path / "t.csv").read_text("utf-8") == "a\ncaf\\udce9\n"

    def test_failing_rows_leave_the_old_file(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "t.csv", ("a",), [("old",)])

        def rows() -> Any:
            yield ("new",)
            raise OSError(errno.ENOSPC, "full")

        with pytest.raises(OutputError):
            write_csv(tmp_path / "t.csv", ("a",), rows())
        assert (tmp_path / "t.csv").read_text() == "a\nold\n"
        assert support.litter(tmp_path) == []


def test_json_takes_any_path(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"inputs": ["caf\udce9", "ö"]})
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {"inputs": ["caf\udce9", "ö"]}


def test_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "missing" / "x.json", b"")
