"""What Prometheus is told."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pi10_classifier.api.request_stats import CURRENT, RequestStats, note, stage
from pi10_classifier.api.server.metrics import Metrics
from pi10_classifier.errors import Code
from pi10_classifier.model.package import read_package


def figures(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and label values -> value; the text must be one that Prometheus reads."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_all_outcomes_and_codes_are_there_from_the_start():
    found = figures(Metrics())
    assert [found["pi10_images_total", x] for x in ("result", "failure", "skipped")] == [0, 0, 0]
    assert all(found["pi10_failures_total", code.value] == 0 for code in Code)


def test_a_request_is_counted_with_its_images_failures_and_stages():
    metrics = Metrics()
    account = RequestStats("x")
    account.count({"inputs": 6, "results": 3, "failures": 2, "skipped": 1}, {"corrupt_image": 2})
    account.add("classify", 0.5)
    account.add("classify", 0.25)
    metrics.request("POST", "/predict/", 200, account)
    found = figures(metrics)
    assert found["pi10_requests_total", "POST", "/predict/", "200"] == 1
    assert found["pi10_request_seconds_count", "/predict/"] == 1
    assert found["pi10_images_total", "result"] == 3
    assert found["pi10_images_total", "failure"] == 2
    assert found["pi10_images_total", "skipped"] == 1
    assert found["pi10_failures_total", "corrupt_image"] == 2
    assert found["pi10_stage_seconds_sum", "classify"] == pytest.approx(0.75)


def test_drift_is_told_by_quantity_and_the_newest_bin_counts():
    metrics = Metrics()
    assert figures(metrics)["pi10_drift_alarms_total", "sharpness", "camera"] == 0
    account = RequestStats("x")
    drift = {"pia7.2026-01-01.1000": {"sharpness": -1.5, "mix": 2.0}, "pia7.2026-01-01.1010": {}}
    account.count({}, {}, dict(sorted(drift.items())[:1]))
    metrics.work(account)
    found = figures(metrics)
    assert found["pi10_drift_bins_total",] == 1
    assert found["pi10_drift_alarms_total", "sharpness", "camera"] == 1
    assert found["pi10_drift_height", "sharpness", "camera"] == -1.5
    assert found["pi10_drift_height", "mix", "sea"] == 2.0
    later = RequestStats("y")
    later.count({}, {}, dict(sorted(drift.items())[1:]))
    metrics.work(later)
    found = figures(metrics)
    assert found["pi10_drift_bins_total",] == 2
    assert found["pi10_drift_alarms_total", "sharpness", "camera"] == 1
    assert found["pi10_drift_height", "sharpness", "camera"] == 0


def test_the_model_is_told_by_its_hash(package):
    metrics = Metrics()
    described, _ = read_package(package)
    metrics.model(described)
    assert figures(metrics)["pi10_model_info", "tiny", described.sha256, "1.0"] == 1


def test_a_watched_value_is_read_when_it_is_asked_for():
    metrics, value = Metrics(), [1.0]
    metrics.watch("pi10_ready", "about", lambda: value[0])
    assert figures(metrics)["pi10_ready",] == 1
    value[0] = 0.0
    assert figures(metrics)["pi10_ready",] == 0


def test_notes_go_to_the_request_at_hand_and_else_nowhere():
    note({"inputs": 1}, {})  # no request: nothing to add to, and no error
    account = RequestStats("x")
    token = CURRENT.set(account)
    with stage("write"):
        note({"inputs": 2, "results": 2}, {})
    CURRENT.reset(token)
    assert account.totals["inputs"] == 2
    assert account.stages["write"] > 0
