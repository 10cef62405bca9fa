"""Cumulative sums: they alarm on what lasts, not on one odd minute, and end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pi10_classifier.drift.chart import ALLOWANCE, LIMIT, MOST, Monitor, Monitors, subjects
from pi10_classifier.drift.reference import Reference
from pi10_classifier.drift.sums import empty


def minutes_to_alarm(reference: Reference, deviation: float, most: int = 1000) -> int:
    monitor = Monitor(reference)
    for minute in range(1, most + 1):
        monitor.advance({"ground": deviation})
        if monitor.alarms:
            return minute
    return 0


def test_sums_are_pages(reference: Reference) -> None:
    monitor = Monitor(reference, limit=1000)
    steps = np.random.default_rng(1).normal(1.5, 1, 100).clip(-MOST, MOST)
    height = 0.0
    for step in steps:
        monitor.advance({"ground": step})
        height = max(0.0, height + step - ALLOWANCE)
    assert monitor.state["sums"]["ground"][0] == pytest.approx(height)


def test_what_lasts_alarms_and_one_odd_minute_does_not(reference: Reference) -> None:
    assert minutes_to_alarm(reference, ALLOWANCE) == 0
    assert minutes_to_alarm(reference, 1e9, most=1) == 0
    assert minutes_to_alarm(reference, 3.0) == int(LIMIT / (3.0 - ALLOWANCE)) + 1
    assert minutes_to_alarm(reference, -1e9) == int(LIMIT / (MOST - ALLOWANCE)) + 1


def test_an_alarm_ends_with_its_cause(reference: Reference) -> None:
    monitor = Monitor(reference)
    for _ in range(10_000):
        monitor.advance({"ground": -9.0})
    assert monitor.alarms == {"ground": -2.0}
    for _ in range(int(LIMIT / ALLOWANCE) + 1):
        monitor.advance({"ground": 0.0})
    assert not monitor.alarms


def test_more_is_allowed_while_the_mix_is_another(reference: Reference) -> None:
    monitor = Monitor(reference)
    for _ in range(100):
        monitor.advance({"ground": ALLOWANCE + 1, "mix": MOST})
    assert set(monitor.alarms) == {"mix"}
    for _ in range(100):  # a large change of the camera is told all the same
        monitor.advance({"ground": MOST, "mix": MOST})
    assert set(monitor.alarms) == {"mix", "ground"}


def test_a_mix_like_the_references_is_no_surprise(reference: Reference) -> None:
    monitor = Monitor(reference)
    for _ in range(100):
        monitor.advance({"mix": -9.0})
    assert not monitor.alarms


def test_few_images_wait_for_more(reference: Reference) -> None:
    monitor = Monitor(reference)
    table = empty(reference)
    table[0, :2] = 20  # 20 copepods, all in the lowest cell
    assert monitor.take(table) == {} and monitor.take(table) == {}
    assert monitor.take(table)["ground"] < -5  # of 60


def test_a_restart_goes_on_where_it_was(reference: Reference) -> None:
    table = empty(reference)
    table[0, :2] = 70
    through, halfway = Monitors(reference), Monitors(reference)
    for _ in range(2):
        through.take("pia7.2024-06-24.1450", table)
        halfway.take("pia7.2024-06-24.1450", table)
    again = Monitors(reference, json.loads(json.dumps(halfway.state)))
    for _ in range(2):
        through.take("pia7.2024-06-24.1500", table)
        again.take("pia7.2024-06-24.1500", table)
    assert through.alarms and again.alarms == through.alarms
    # each camera has its own charts
    assert through.take("pia1.2024-06-24.1450", empty(reference)) == {}
    other = Monitors(reference, {"pia7": {**through.state["pia7"], "reference": "another"}})
    assert not other.alarms


def test_subjects_are_told_apart() -> None:
    assert subjects(["mix", "sharpness", "size", "ground"]) == ("camera", "sea")
    assert subjects(["score"]) == ("model",)
