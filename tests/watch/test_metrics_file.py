"""What a real run tells Prometheus, in a file that its own parser reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import read_package
from pi10_classifier.watch.metrics_file import MetricsFile
from pi10_classifier.watch.options import WatchOptions

parser = pytest.importorskip("prometheus_client.parser")


def figures(path: Path) -> dict[tuple[str, ...], float]:
    """Name and label values -> value."""
    families = parser.text_string_to_metric_families(path.read_text("utf-8"))
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_images_by_outcome_and_class_of_a_run(
    done: Callable[..., RunResult], package: Path, tmp_path: Path
) -> None:
    path = tmp_path / "node" / "pi10.prom"
    path.parent.mkdir()
    source = support.write_folder(
        tmp_path / "in",
        {
            **{f"a{i}.tif": support.particle(i) for i in range(8)},
            "torn.tif": b"II*",
            "note.txt": b"x",
        },
    )
    lines: list[str] = []
    done(source, metrics_file=path, emit_line=lines.append)
    found = figures(path)
    assert [found["pi10_images_total", name] for name in ("result", "failure", "skipped")] == [
        8, 1, 1,
    ]  # fmt: skip
    rows = support.rows_of(tmp_path / "out")
    told = read_package(package)[0]
    for label in told.classes:
        labelled = sum(row["label"] == label for row in rows)
        assert found["pi10_images_labelled_total", label] == labelled
    assert found["pi10_watch_lines_total",] == len(lines)
    assert (found["pi10_watch_backlog",], found["pi10_watch_trouble",]) == (0, 0)
    assert found["pi10_model_info", told.name, told.sha256, told.version] == 1
    assert not [name for name in found if "drift" in name[0]], "there is no reference"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_is_told(done: Callable[..., RunResult], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"reads files \*\.prom only"):
        WatchOptions(metrics_file=tmp_path / "pi10.txt")
    with pytest.raises(SettingError, match="there is no folder"):
        WatchOptions(metrics_file=tmp_path / "none" / "pi10.prom")
    (tmp_path / "x.prom").mkdir()
    with pytest.raises(SettingError, match="cannot be written: Is a directory; name a file"):
        done(tmp_path, metrics_file=tmp_path / "x.prom")


def test_what_a_killed_watcher_left_half_written_is_removed(
    done: Callable[..., RunResult], tmp_path: Path
) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    for name in ("pi10.prom.17.140309", "other.prom.17.140309", "pi10.prom.17.old"):
        (folder / name).write_text("pi10_", "utf-8")
    source = support.write_folder(tmp_path / "in", {"a.tif": support.particle(1)})
    done(source, metrics_file=folder / "pi10.prom")
    left = {path.name for path in folder.iterdir()}
    assert left == {"pi10.prom", "other.prom.17.140309", "pi10.prom.17.old"}


def test_a_file_that_fails_later_stops_no_work_and_is_told_once(
    done: Callable[..., RunResult], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    source = support.write_folder(tmp_path / "in", {"a.tif": support.particle(1)})

    def remove(line: str) -> None:
        (folder / "pi10.prom").unlink(missing_ok=True)
        folder.rmdir()

    run = done(source, metrics_file=folder / "pi10.prom", emit_line=remove)
    assert run.tally.totals["results"] == 1
    assert not folder.exists()
    told = [record.getMessage() for record in caplog.records if "--metrics-file" in record.msg]
    assert len(told) == 1
    assert "pi10.prom cannot be written: No such file or directory; what is there" in told[0]


def test_a_file_that_can_be_written_again_is_told(
    package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    metrics = MetricsFile(folder / "pi10.prom", read_package(package)[0], None, str)
    line = '{"n":{},"failed":1,"skipped":0,"backlog":0,"minute":"2026-11-27T14:55Z"}'
    folder.rename(tmp_path / "away")
    metrics.tell(line)
    metrics.tell(line)
    (tmp_path / "away").rename(folder)
    metrics.tell(line)
    first, second = [record.getMessage() for record in caplog.records]
    assert "cannot be written" in first
    assert "is written again" in second
    assert figures(folder / "pi10.prom")["pi10_images_total", "failure"] == 3
