"""A watched folder: the same tables as `classify`, each input once, whatever happens."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import support
from watching import incoming, same_results

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.watch.ledger import Ledger
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.publisher import PartPublisher

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
Done = Callable[..., RunResult]


class TestResults:
    def test_are_those_of_classify(self, done: Done, whole: Path, tmp_path: Path) -> None:
        lines: list[str] = []
        run = done(tmp_path / "in", step_s=30, emit_line=lines.append)
        assert run.exit_code is ExitCode.SOME_FAILED
        same_results(run.out, whole)
        said = json.loads((run.out / "run.json").read_text())
        assert said["totals"] == json.loads((whole / "run.json").read_text())["totals"]
        told = [json.loads(line) for line in lines]
        assert sum(sum(line["n"].values()) for line in told) == run.tally.totals["results"]
        assert sum(line["failed"] for line in told) == 2
        assert [line["seq"] for line in told] == list(range(1, len(told) + 1))
        assert len({line["minute"] for line in told}) == len(told)
        # a part a minute and one an archive, not one an image
        assert len(list((run.out / "predictions.parquet").iterdir())) <= len(told) + 2

    def test_second_start_changes_nothing(self, done: Done, tmp_path: Path) -> None:
        source = incoming(tmp_path / "in")
        before = support.tables(done(source).out)
        lines: list[str] = []
        assert support.tables(done(source, emit_line=lines.append).out) == before
        assert sum(json.loads(lines[-1])["n"].values()) == 0

    def test_what_comes_later_is_added(self, done: Done, tmp_path: Path) -> None:
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        done(source)
        support.write_folder(source, {"2.tif": support.particle(2), "2.tif.part": b"II*\0"})
        run = done(source)
        assert [row["member"] for row in support.rows_of(run.out)] == ["1.tif", "2.tif"]
        assert run.tally.totals["inputs"] == 2

    def test_input_that_changes_has_one_result(
        self, done: Done, package: Path, tmp_path: Path
    ) -> None:
        members = {f"{n}.tif": support.particle(n) for n in range(5)}
        members |= {"bad.tif": support.particle(1)[:500], "HitsMisses.txt": b"1,2\n"}
        source = support.write_folder(tmp_path / "in", members)
        support.write_tar(source / "a.tar", support.bin_members(10))
        done(source)
        changed = {"3.tif": support.particle(77, side=60), "bad.tif": members["1.tif"]}
        changed |= {"4.tif": b"", "HitsMisses.txt": b"1,2\n3,4\n"}
        support.write_folder(source, changed)
        support.write_tar(source / "a.tar", support.bin_members(12))
        run = done(source)
        whole = classify([str(source)], tmp_path / "whole", Settings(model=package))
        assert whole.tally.totals == run.tally.totals
        same_results(run.out, whole.out)
        ledger = Ledger(run.out / "journal/watch.sqlite")
        assert ledger.totals() == {"r": 5, "f": 1, "s": 1, "a": 1}
        assert not ledger.ask("select * from superseded")
        counted = dict(ledger.ask("select bin, sum(count) from images group by bin"))
        ledger.close()
        assert counted == {"pia7.2024-06-24.1450": 12}


class TestRefusals:
    def test_other_model(self, done: Done, tmp_path: Path) -> None:
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        done(source)
        other = support.write_package(tmp_path / "other", version="2.0")
        with pytest.raises(SettingError, match=r"model was 'tiny 1\.0', is 'tiny 2\.0'"):
            done(source, model=other)

    def test_two_at_once(self, at_work: Any, done: Done, tmp_path: Path) -> None:
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        first = at_work(source)
        first.until(lambda: first.status and first.status.results, "the first")
        with pytest.raises(SettingError, match="another run is writing"):
            done(source)
        assert first.end().tally.totals["results"] == 1

    def test_results_among_inputs_are_none(self, done: Done, tmp_path: Path) -> None:
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        for _ in range(2):
            run = done(source, out="in/out")
            assert run.tally.totals["inputs"] == 1
        with pytest.raises(SettingError, match="is inside --out"):
            done(source / "out" / "journal", out="in/out")

    @pytest.mark.parametrize("source", ["nowhere", "", "http://x/y", "s3://", "s3://x"])
    def test_no_source(self, done: Done, source: str) -> None:
        with pytest.raises(SettingError):
            done(source)

    def test_parts_of_another_run(self, done: Done, tmp_path: Path) -> None:
        source = incoming(tmp_path / "in")
        out = done(source, step_s=60).out
        (out / "journal/watch.sqlite").unlink()
        with pytest.raises(SettingError, match="does not list"):
            done(source)
        assert len(support.rows_of(out)) == 151  # and removed nothing

    @pytest.mark.parametrize(
        ("name", "value"), [("settle_s", -1.0), ("settle_s", float("nan")), ("rescan_s", 0.5)]
    )
    def test_numbers(self, name: str, value: float) -> None:
        with pytest.raises(SettingError, match=name.removesuffix("_s")):
            WatchOptions(**{name: value})


class TestAtWork:
    def test_file_that_grows_is_read_whole(self, at_work: Any, tmp_path: Path) -> None:
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        watcher = at_work(source, settle_s=0.5)
        watcher.until(lambda: watcher.status, "the start")
        data = support.particle(2, side=60)

        def write() -> None:
            with (source / "grows.tif").open("wb") as stream:
                for at in range(0, len(data), len(data) // 8):
                    stream.write(data[at : at + len(data) // 8])
                    stream.flush()
                    time.sleep(0.1)

        writer = threading.Thread(target=write)
        writer.start()
        support.write_folder(source / "sub", {"later.tif.tmp": support.particle(3)})
        writer.join()
        (source / "sub/later.tif.tmp").rename(source / "sub/later.tif")
        watcher.until(lambda: watcher.status.results >= 3, "three results")
        run = watcher.end()
        assert run.exit_code is ExitCode.OK
        members = [row["member"] for row in support.rows_of(run.out)]
        assert sorted(members) == ["1.tif", "grows.tif", "sub/later.tif"]
        assert run.tally.totals["failures"] == 0

    def test_removed_before_it_was_read(self, at_work: Any, tmp_path: Path) -> None:
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        support.write_folder(source, {"gone.tif": support.particle(2)})
        watcher = at_work(source, settle_s=1.5)
        watcher.until(lambda: watcher.status and watcher.status.backlog == 2, "both seen")
        (source / "gone.tif").unlink()
        watcher.until(lambda: watcher.status.results == 1, "a result")
        run = watcher.end()
        assert run.tally.totals["inputs"] == 1

    @posix
    def test_closed_folder_hides_no_other(
        self, done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As `lost+found` of a disk is, here for all users: its path is too long to be opened."""
        monkeypatch.setattr("pi10_classifier.watch.publisher._FIRST_WAIT_S", 0.05)
        source = support.write_folder(tmp_path / "in", {"z/1.tif": support.particle(1)})
        (source / "loop.tar").symlink_to("loop.tar")
        handle = os.open(source, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("D" * 250, dir_fd=handle)
            below = os.open("D" * 250, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = below
        os.close(handle)
        run = done(source)
        assert run.tally.totals == {"inputs": 3, "results": 1, "failures": 2, "skipped": 0}
        failures = support.csv_of(run.out / "failures.csv")
        assert {row["code"] for row in failures} == {"object_unreadable"}

    @posix
    def test_what_could_not_be_read_is_tried_again_after_a_start(
        self, done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Permissions that are mended change neither time nor size."""
        monkeypatch.setattr("pi10_classifier.watch.publisher._FIRST_WAIT_S", 0.05)
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        opened = os.open

        def refuse(path: Any, *words: Any, **named: Any) -> int:
            if os.fspath(path).endswith("1.tif"):
                raise PermissionError(13, "Permission denied")
            return opened(path, *words, **named)

        with monkeypatch.context() as refusing:
            refusing.setattr(os, "open", refuse)
            assert done(source).tally.totals["failures"] == 1
        totals = {"inputs": 1, "results": 1, "failures": 0, "skipped": 0}
        assert done(source).tally.totals == totals
        assert done(source).tally.totals == totals

    def test_what_was_gone_and_comes_back_is_done(self, done: Done, tmp_path: Path) -> None:
        """A file that is moved away and back, as it was."""
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        one, away = source / "1.tif", tmp_path / "away.tif"
        images = PartPublisher.images

        def late(self: PartPublisher, found: Any) -> None:
            one.replace(away)  # seen, settled, and gone before it is opened
            images(self, found)

        with pytest.MonkeyPatch.context() as moved:
            moved.setattr(PartPublisher, "images", late)
            assert done(source).tally.totals["failures"] == 1
        away.replace(one)
        totals = {"inputs": 1, "results": 1, "failures": 0, "skipped": 0}
        assert done(source).tally.totals == totals

    def test_without_events_scans_find_it(
        self, at_work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the extra that brings file events."""
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        watcher = at_work(source, rescan_s=1.0)
        watcher.until(lambda: watcher.status and watcher.status.results == 1, "the first")
        assert "[watch]" in watcher.status.listening
        support.write_folder(source, {"2.tif": support.particle(2)})
        watcher.until(lambda: watcher.status.results == 2, "the second")
        watcher.end()

    def test_folder_that_is_moved_in_as_a_whole(self, at_work: Any, tmp_path: Path) -> None:
        """One event without its files; no scan is due for an hour."""
        pytest.importorskip("watchfiles")
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        watcher = at_work(source, rescan_s=3600.0)
        watcher.until(lambda: watcher.status and watcher.status.listening == "ok", "events")
        watcher.until(lambda: watcher.status.results == 1, "the first")
        members = {"x/2.tif": support.particle(2), "3.tif": support.particle(3)}
        support.write_folder(tmp_path / "whole", members)
        (tmp_path / "whole").rename(source / "whole")
        watcher.until(lambda: watcher.status.results == 3, "what came with the folder")
        watcher.end()

    @pytest.mark.parametrize("moved", [True, False], ids=["folder", "older time"])
    def test_one_scan_finds_what_no_event_told(
        self, moved: bool, at_work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that is moved in, and a file put back with an older time."""
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        source = support.write_folder(tmp_path / "in", {"1.tif": support.particle(1)})
        watcher = at_work(source, step_s=5.0, rescan_s=1.0)
        watcher.until(lambda: watcher.status and watcher.status.results == 1, "the first")
        watcher.until(lambda: watcher.status.backlog == 0, "its publication")
        if moved:
            support.write_folder(tmp_path / "whole", {"x/2.tif": support.particle(2)})
            (tmp_path / "whole").rename(source / "whole")
        else:
            support.write_folder(tmp_path / "other", {"1.tif": support.particle(2, side=60)})
            os.utime(tmp_path / "other/1.tif", (1e9, 1e9))
            (tmp_path / "other/1.tif").replace(source / "1.tif")
        watcher.until(lambda: watcher.status.results == 2, "the second")
        run = watcher.end()
        assert run.tally.totals["results"] == (2 if moved else 1)
