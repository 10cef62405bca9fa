"""A finished folder of results, shown beside the ships: its densities, days, name."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import SettingError
from pi10_classifier.report.density_series import Series
from pi10_classifier.results.run_folder import JOURNAL
from pi10_classifier.shore.receiver.lines import minute_text
from pi10_classifier.shore.voyages.runs import FinishedRun, open_runs
from pi10_classifier.shore.webpage.daily import as_csv, as_page
from pi10_classifier.shore.webpage.views import Views


def test_a_finished_run_shows_the_densities_of_its_tables(
    start: Callable[..., RunResult], cruise: Path
) -> None:
    out = start(cruise).out
    views = Views(None, open_runs([out]))
    (voyage,) = views.voyages()
    extent = voyage.extent()
    assert extent
    series = views.series("out", *(minute_text(minute) for minute in extent), "hour")
    with (out / "counts.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["minute"]]
    for label, density in series["overall"].items():
        own = [row for row in rows if row["label"] == label]
        raised = sum(float(row["raised_count"]) for row in own if row["raised_count"])
        litres = sum(float(row["litres"]) for row in own if row["litres"])
        assert density["per_litre"] == pytest.approx(raised / litres)
        assert series["images"][label] == sum(int(row["count"]) for row in own)
    assert series["overall"]
    places = {(row["bin"], row["minute"]): row["hits"] for row in rows if row["hits"]}
    assert sum(series["hits"]) == sum(map(int, places.values()))
    located = [row for row in rows if row["latitude"]]
    assert len(series["track"]["time"]) == len({row["minute"] for row in located})


def test_a_finished_day_leaves_out_what_the_report_leaves_out(
    start: Callable[..., RunResult], cruise: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(start(cruise).out, tmp_path / "run"))
    with (out / "counts.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with_density = sorted({(row["minute"], row["bin"]) for row in rows if row["litres"]})
    assert len(with_density) > 1
    for row in rows:
        row["quality_l20"] = "4" if (row["minute"], row["bin"]) == with_density[0] else "1"
    with (out / "counts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    series = Series(10**6)
    for row in rows:
        series.add(row, "minute")
    day = Views(None, open_runs([out])).day(with_density[0][0][:10])
    (voyage,) = day["voyages"]
    assert voyage["bad_minutes"] == series.bad == 1
    for label in voyage["without_bad"]:
        wanted = series.good_mean(label)
        assert wanted
        assert voyage["without_bad"][label]["per_litre"] == pytest.approx(wanted.per_litre)


def test_a_run_with_a_name_that_is_no_text_is_shown(
    start: Callable[..., RunResult], cruise: Path
) -> None:
    out = start(cruise).out
    try:
        odd = out.rename(os.fsdecode(os.fsencode(out.parent) + b"/<b>\xff"))
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    views = Views(None, open_runs([odd]))
    (entry,) = views.overview()["voyages"]
    assert entry["name"] == "<b>\\xff"
    day = views.day(entry["from"][:10])
    assert b"<h2>&lt;b&gt;\\xff</h2>" in as_page(day).encode()
    assert b"<b>\\xff" in as_csv(day).encode()


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "1450.tar").touch()
    for path, wrong in ((tmp_path, "is no folder of results"), (tmp_path / "1450.tar", "is no"),
                        (tmp_path / "none", "does not exist")):  # fmt: skip
        with pytest.raises(SettingError, match=f"{wrong}.*pi10 classify INPUT --out RESULTS"):
            FinishedRun(path, "x")
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(SettingError, match=r"no run\.json.*--resume"):
        FinishedRun(tmp_path, "x")
