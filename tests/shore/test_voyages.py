"""What is asked of a store: densities pooled by sums, gaps, states, days."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from shore_fleet import CLASSES, make_line

from pi10_classifier.abundance.density import Sums, densities, total_of
from pi10_classifier.classify import RunResult
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.shore.receiver.database import Database
from pi10_classifier.shore.receiver.lines import minute_text, parse
from pi10_classifier.shore.receiver.store import Post, Store
from pi10_classifier.shore.voyages.runs import open_runs
from pi10_classifier.shore.voyages.ships import Reader
from pi10_classifier.shore.webpage.alerts import alerts_of
from pi10_classifier.shore.webpage.daily import as_csv, as_page
from pi10_classifier.shore.webpage.views import RequestError, Views
from pi10_classifier.watch.ashore.minute_summary import fitted

NOW = int(time.time()) // 60
FIRST = NOW // 1440 * 1440 - 2880  # a midnight
SOURCE = "0123abcd"


def enter(store: Store, *texts: str, ship: str = "endeavour", at: int = NOW) -> None:
    (receipt,) = store.enter([Post(ship, at * 60, [parse(text, NOW) for text in texts])])
    assert not receipt.refused  # type: ignore[union-attr]


def sums_of(seq: int, label: str) -> Sums:
    """Of a line of ``make_line``, from its counts."""
    weight = weight_of(seq)
    return Sums.of_minute((10 + 3 * CLASSES.index(label) + seq % 5) * weight, weight)


def test_densities_are_pooled_by_sums_at_every_step(store: Store, database: Database) -> None:
    texts = [
        make_line(SOURCE, seq, FIRST + 1 + seq, weight=weight_of(seq)) for seq in range(1, 200)
    ]
    random.Random(1).shuffle(texts)
    for start in range(0, len(texts), 17):
        enter(store, *texts[start : start + 17])
    views = Views(Reader(database), [])
    day, hour, minute = (
        views.series("endeavour", minute_text(FIRST), minute_text(FIRST + 1440), step)
        for step in ("day", "hour", "minute")
    )
    assert [len(series["time"]) for series in (day, hour, minute)] == [1, 4, 201]
    for label in CLASSES:
        (wanted,) = densities([total_of(sums_of(seq, label) for seq in range(1, 200))])
        assert wanted
        for series in (day, hour, minute):
            overall = series["overall"][label]
            assert overall["minutes"] == 199
            for name in ("raised_count", "per_litre", "low", "high"):
                assert overall[name] == pytest.approx(getattr(wanted, name), rel=2e-4)
            mass = overall["water_mass_low"], overall["water_mass_high"]
            assert mass == pytest.approx((wanted.water_mass_low, wanted.water_mass_high), rel=2e-3)
        (second,) = densities([total_of(sums_of(seq, label) for seq in range(61, 121))])
        assert second
        values = hour["classes"][label]
        assert values["per_litre"][1] == pytest.approx(second.per_litre, rel=2e-4)
        assert values["water_mass_high"][1] == pytest.approx(second.water_mass_high, rel=2e-3)
    assert sum(hour["hits"]) == sum(minute["hits"]) == sum(100 + seq % 7 for seq in range(1, 200))
    assert sum(hour["lines"]) == sum(minute["lines"]) == 199


def weight_of(seq: int) -> float:
    return (400 + seq % 7 + seq % 11) / (100 + seq % 7)


def test_a_line_of_several_minutes_pools_as_its_minutes_do(
    store: Store, database: Database
) -> None:
    total = total_of(sums_of(seq, "copepod") for seq in range(5))
    (wanted,) = densities([total])
    assert wanted and total.sd
    values = [wanted.raised_count, wanted.per_litre, wanted.low, wanted.high]
    line = {"minutes": 5, "weight": total.largest}
    whole = make_line(
        SOURCE, 1, FIRST + 9, density={"a": [*values, total.variance, total.sd]}, **line
    )
    enter(store, whole)
    enter(store, make_line("ffffffff", 1, FIRST + 9, density={"a": values}, **line), ship="old")
    views = Views(Reader(database), [])
    new, old = (
        views.series(ship, minute_text(FIRST), minute_text(FIRST + 60), "hour")["overall"]["a"]
        for ship in ("endeavour", "old")
    )
    assert new["low"] == pytest.approx(wanted.low, rel=1e-3)
    assert new["water_mass_high"] == pytest.approx(wanted.water_mass_high, rel=1e-3)
    # a line of before the weight does not tell how its minutes differ
    assert (old["per_litre"], old["water_mass_low"]) == (new["per_litre"], None)


def test_classes_that_a_line_has_no_room_for_count_as_none_or_in_the_rest(
    store: Store, database: Database
) -> None:
    """Twelve classes, of which a line tells some: sums and means stay those of every minute."""
    labels = [f"class {number:02d}" for number in range(12)]
    truth: dict[str, list[Sums]] = {label: [] for label in labels}
    texts = []
    for seq in range(1, 121):
        counts = {label: (seq * (n + 1) * 7919) % (5 + 40 * n) for n, label in enumerate(labels)}
        density = {}
        for label, count in counts.items():
            sums = Sums.of_minute(4.0 * count, 4.0)
            truth[label].append(sums)
            (pooled,) = densities([sums])
            assert pooled
            density[label] = [pooled.raised_count, pooled.per_litre, pooled.low, pooled.high]
        line = json.loads(make_line(SOURCE, seq, FIRST + 1 + seq))
        texts.append(fitted(line | {"n": counts, "weight": 4, "density": density}))
    assert all(len(text) < 500 for text in texts)
    assert any('"rest":' in text for text in texts)
    random.Random(2).shuffle(texts)  # a class may be named after lines that do not name it
    for start in range(0, len(texts), 17):
        enter(store, *texts[start : start + 17])
    (ship,) = Reader(database).ships()
    for step in (60, 1):
        pooled_by = Counter[str]()
        minutes: dict[str, int] = Counter()
        for stretch in ship.stretches(FIRST, FIRST + 1440, step):
            for label, sums in stretch.sums.items():
                pooled_by[label] += sums.raised
                minutes[label] += sums.minutes
        every = sum(total_of(sums).raised for sums in truth.values())
        assert sum(pooled_by.values()) == pytest.approx(every, rel=1e-3)
        assert set(minutes.values()) == {120}, f"every class over every minute, in steps of {step}"
        for label in labels:
            assert pooled_by[label] <= total_of(truth[label]).raised * 1.001
        common = labels[-1]
        assert pooled_by[common] == pytest.approx(total_of(truth[common]).raised, rel=0.02)


def test_refused_lines_are_not_awaited(store: Store, database: Database) -> None:
    enter(store, *(make_line(SOURCE, seq, NOW - 20 + seq) for seq in (1, 2, 9)))
    (ship,) = Reader(database).ships()
    assert ship.state().missing == 6
    bad = [make_line(SOURCE, 4, NOW - 16, n={"a": -1}), make_line(SOURCE, 5, NOW - 15, at=[99, 0])]
    other = make_line(SOURCE, 2, NOW - 10)  # its number is taken, by a line that is here
    refused = [(text, "no number") for text in (*bad, "{", '{"id": [], "seq": 3}')]
    store.enter([Post("endeavour", NOW * 60, [parse(other, NOW)], refused)])
    assert ship.state().missing == 4
    assert ship.state().refused == 5
    other_ship = make_line(SOURCE, 6, NOW - 14, n={"a": -1})
    store.enter([Post("mallory", NOW * 60, [], [(other_ship, "no number")])])
    assert ship.state().missing == 4, "another ship's token says nothing of this one's lines"
    lines = [make_line("dddddddd", 5, NOW - 3, dropped=2), make_line("eeeeeeee", 3, NOW - 2)]
    enter(store, *lines)
    assert ship.state().missing == 4 + (4 - 2) + 2, "those lost aboard, of each output folder"


def test_gaps_tell_lines_that_are_awaited_from_minutes_without_a_line(
    store: Store, database: Database
) -> None:
    kept = [*range(1, 11), *range(21, 31)]  # ten are on their way
    texts = [make_line(SOURCE, seq, FIRST + seq) for seq in kept]
    later = [make_line(SOURCE, seq, FIRST + 30 + seq) for seq in range(31, 36)]  # stood still
    enter(store, *texts, *later)
    (ship,) = Reader(database).ships()
    gaps = [(gap.start - FIRST, gap.end - FIRST, gap.missing) for gap in ship.gaps(FIRST, NOW)]
    assert gaps == [(11, 21, 10), (31, 61, 0)]
    assert ship.state().missing == 10
    enter(store, *(make_line(SOURCE, seq, FIRST + seq) for seq in range(11, 21)))
    assert ship.state().missing == 0
    assert [gap.missing for gap in ship.gaps(FIRST, NOW)] == [0]


def test_gaps_by_hours_are_those_of_every_minute(store: Store, database: Database) -> None:
    chance = random.Random(3)
    absent = {chance.randrange(2000) for _ in range(12)} | set(range(300, 500)) | {659, 660, 1199}
    minutes = [minute for minute in range(2, 2000) if minute not in absent]
    for start in range(0, len(minutes), 500):
        page = minutes[start : start + 500]
        enter(store, *(make_line(SOURCE, minute, FIRST + minute) for minute in page))
    (ship,) = Reader(database).ships()
    wanted = [
        (before + 1, after, after - before - 1)
        for before, after in pairwise(minutes)
        if after - before > 1
    ]
    gaps = ship.gaps(FIRST, FIRST + 2880)
    assert [(gap.start - FIRST, gap.end - FIRST, gap.missing) for gap in gaps] == wanted


def test_state_and_alerts_of_a_ship_in_trouble(store: Store, database: Database) -> None:
    store.enlist(["endeavour", "silent"])
    line = make_line(
        SOURCE, 9, NOW - 200, at=[50.5, -4.25, 1], trouble="disk_full",
        backlog=90_000, dropped=2, failed=30, n={"copepod": 10}, flags=["step"],
    )  # fmt: skip
    enter(store, line, at=NOW - 190)
    endeavour, silent = (ship.state() for ship in Reader(database).ships())
    assert endeavour.position == (NOW - 201, 50.5, -4.25)
    assert endeavour.backlog_hours == pytest.approx(90_000 / 10 / 60)
    assert endeavour.missing == 6  # eight before it, two of which are lost
    codes = [alert.code for alert in alerts_of(endeavour, NOW)]
    assert codes == ["silent", "trouble", "dropped", "backlog", "failed", "missing"]
    assert [alert.code for alert in alerts_of(silent, NOW)] == ["never_seen"]
    drifting = make_line(
        "dddddddd", 1, NOW - 2, drift={"sharpness": -1.3, "ground": 1.1, "mix": 2.0, "new": 1.5}
    )
    enter(store, drifting, ship="drifting")
    told = {ship.name: ship for ship in Reader(database).ships()}["drifting"].state()
    alerts = alerts_of(told, NOW)
    assert [alert.code for alert in alerts] == ["drift_camera", "drift_model", "drift_sea"]
    assert alerts[0].text.startswith("sharpness (lower), ground (higher) than the reference")
    healthy = "eeeeeeee"
    enter(store, *(make_line(healthy, n, NOW - 5 + n) for n in range(1, 5)), ship="well")
    well = {ship.name: ship for ship in Reader(database).ships()}["well"]
    assert alerts_of(well.state(), NOW) == []


def test_a_day_has_the_densities_without_bad_minutes(store: Store, database: Database) -> None:
    """Of a ship's day with two bad minutes in one of its hours, and a line of several minutes."""
    whole = total_of(sums_of(seq, "copepod") for seq in range(5))
    (mean,) = densities([whole])
    assert mean
    values = [mean.raised_count, mean.per_litre, mean.low, mean.high, whole.variance, whole.sd]
    several = make_line(
        SOURCE, 200, FIRST + 400, minutes=5, weight=whole.largest, flags=["mostly_missed"],
        density={"copepod": values},
    )  # fmt: skip
    flags = {70: ["step"], 80: ["gap_before", "factor_above_10"], 90: ["hits_unseen"]}
    lines = [
        make_line(SOURCE, seq, FIRST + 1 + seq, weight=weight_of(seq), flags=flags.get(seq, []))
        for seq in range(1, 200)
    ]
    enter(store, *lines, several)
    views = Views(Reader(database), [])
    day = views.day(minute_text(FIRST)[:10])
    (ship,) = day["voyages"]
    assert (ship["minutes"], ship["bad_minutes"]) == (204, 7)
    for label in CLASSES:
        good = [sums_of(seq, label) for seq in range(1, 200) if seq not in (70, 80)]
        (wanted,) = densities([total_of(good)])
        assert wanted
        told = ship["without_bad"][label]
        assert told["minutes"] == 197
        for name in ("raised_count", "per_litre", "low", "high"):
            assert told[name] == pytest.approx(getattr(wanted, name), rel=2e-4)
    assert ship["densities"]["copepod"]["minutes"] == 204
    row = next(csv.DictReader(io.StringIO(as_csv(day))))
    assert (row["label"], row["bad_minutes"]) == ("copepod", "7")
    assert float(row["low_without_bad"]) == ship["without_bad"]["copepod"]["low"]
    assert "per litre without bad minutes" in as_page(day) and "7 of them" in as_page(day)


def test_a_run_tells_what_classified_it_and_why_it_has_no_spectrum(
    start: Callable[..., RunResult], cruise: Path, store: Store, database: Database
) -> None:
    out = start(cruise).out
    record = json.loads((out / "run.json").read_text("utf-8"))
    enter(store, make_line(SOURCE, 1, NOW - 5))
    views = Views(Reader(database), open_runs([out]))
    ship, run = views.overview()["voyages"]
    model = record["model"]
    assert (run["model"], run["model_version"]) == (model["name"], model["version"])
    assert run["precision"] == record["runtime"]["precision"]
    assert "model_version" not in ship, "lines do not carry it, and no package here has this hash"
    graphs = read_package(embedded("starter"))[0].hashes
    for seq, (file, precision) in enumerate(
        (("model.onnx", "fp32"), ("model.int8.onnx", "int8")), start=2
    ):
        enter(store, make_line(SOURCE, seq, NOW - 5 + seq, model=graphs[file][:8]))
        ship, _ = views.overview()["voyages"]
        assert (ship["model"], ship["model_name"]) == (graphs[file][:8], "starter")
        assert ship["precision"] == precision, "two hashes of one model"
    rows, why = views.spectrum("endeavour")
    assert not rows and "lines of a ship hold no sizes" in why
    rows, why = views.spectrum(run["name"])
    assert not rows and why.startswith("pi10 sizes was not run")


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [("2026-01-01", "2025-01-01", ""), ("x", "2025-01-01", ""), ("2020-01-01", "2026-01-01", ""),
     ("2026-01-01", "2026-02-01", "minute"), ("2026-01-01", "2026-01-02", "second")],
)  # fmt: skip
def test_bad_times_are_told(
    store: Store, database: Database, start: str, end: str, step: str
) -> None:
    store.enlist(["endeavour"])
    with pytest.raises(RequestError):
        Views(Reader(database), []).series("endeavour", start, end, step)
