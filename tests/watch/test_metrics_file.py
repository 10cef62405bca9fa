"""What a real run tells Prometheus, in a file that its own parser reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import read_package
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
    with pytest.raises(SettingError, match="cannot be written"):
        done(tmp_path, metrics_file=tmp_path / "x.prom")


def test_a_file_that_fails_later_stops_no_work(
    done: Callable[..., RunResult], tmp_path: Path
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
