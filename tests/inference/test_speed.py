"""Measured speeds of runtimes, and what is recommended by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.inference.speed import Speed, measure_speed, recommended


def test_each_device_is_measured_in_turns(package: Path) -> None:
    seen: list[tuple[int, int]] = []
    speeds = measure_speed(
        package, ["cpu", "nowhere"], jobs=2, rounds=2, seconds=0.02,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    cpu, nowhere = speeds
    assert (cpu.device, cpu.precision) == ("cpu", "fp32")
    assert 0 < cpu.least <= cpu.per_second <= cpu.most
    assert cpu.core_ms > 0
    assert "nowhere" in str(nowhere)
    assert seen == [(1, 2), (2, 2)]


CPU = Speed("cpu", "fp32", 1000.0)


@pytest.mark.parametrize(
    ("others", "said", "unsaid"),
    [
        ([], "--device cpu", "times"),
        ([Speed("openvino", "fp32", 1050.0)], "--device cpu", "openvino"),
        (
            [Speed("openvino", "fp32", 1500.0)],
            "--device openvino, 1.5 times as fast as cpu",
            "judge",
        ),
        ([Speed("openvino:bf16", "bf16", 1900.0)], "--device cpu. openvino:bf16 is 1.9", "in turn"),
        ([Speed("openvino:bf16", "bf16", 900.0)], "--device cpu", "bf16"),
        ([Speed("openvino", problem="it is not installed")], "--device cpu", "openvino"),
    ],
)
def test_another_precision_is_never_recommended_unjudged(
    others: list[Speed], said: str, unsaid: str
) -> None:
    words = recommended([CPU, *others], "fast")
    assert words.startswith(said)
    assert unsaid not in words.removeprefix(said)
    if "bf16" in words:
        assert "pi10 evaluate --model fast --device openvino:bf16 --against fast" in words


def test_nothing_measured_recommends_nothing() -> None:
    assert recommended([Speed("cpu", problem="damaged")], "x").startswith("none")
