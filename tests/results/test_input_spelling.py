"""The same input by another spelling goes on with its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.results.input_spelling import spelled_as_before


def test_a_place_is_the_same_however_it_is_spelled(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    support.write_folder(tmp_path / "big", {"a.tif": support.particle(1)})
    settings, out = Settings(model=package, jobs=1), tmp_path / "out"
    classify(["big"], out, settings)
    first = support.tables(out)
    for text in ("big/", "./big", "big//", str(tmp_path / "big"), "big/../big"):
        run = classify([text], out, settings, resume=True)
        assert run.units_resumed == run.units == 1
        assert support.tables(out) == first
    support.write_folder(tmp_path / "other", {"b.tif": support.particle(2)})
    with pytest.raises(SettingError, match="inputs was"):
        classify(["other"], out, settings, resume=True)


def test_a_prefix_is_literal_and_a_bucket_is_not(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/settings.json").write_text('{"inputs": ["s3://b", "s3://c/x"]}')
    given = ["s3://b/", "s3://c/x/", "s3://c/x"]
    assert spelled_as_before(given, tmp_path) == ["s3://b", "s3://c/x/", "s3://c/x"]
    (tmp_path / "journal/settings.json").write_text("[]")
    assert spelled_as_before(given, tmp_path) == given


@pytest.mark.parametrize("data", [b"bin,count\n1,2\n", b"", b"%PDF-1.7"])
def test_a_file_of_another_kind_is_refused(
    start: Callable[..., RunResult], tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(data)
    with pytest.raises(SettingError, match="neither an image nor an archive") as caught:
        start(path)
    assert "some.csv" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_such_a_file_among_images_is_skipped(
    start: Callable[..., RunResult], tmp_path: Path
) -> None:
    (tmp_path / "some.csv").write_bytes(b"a,b\n")
    (tmp_path / "odd.name").write_bytes(support.particle(1))
    run = start(tmp_path / "some.csv", tmp_path / "odd.name")
    assert run.tally.totals["results"] == run.tally.totals["skipped"] == 1
