"""How many workers fit: both forms of the status, both resources, and never a division by zero."""

from __future__ import annotations

from typing import Any

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.services.capacity import Capacity, Need
from pi10_classifier.oscar.services.fdl import named

GIB = 2**30


def four(cores: int, memory: int, node_cores: int, node_memory: int) -> dict[str, Any]:
    """As OSCAR 4 answers: cores in thousandths, memory in bytes, and more than we read."""
    return {
        "cluster": {
            "nodes_count": 2,
            "metrics": {
                "cpu": {"total_free_cores": cores, "max_free_on_node_cores": node_cores},
                "memory": {"total_free_bytes": memory, "max_free_on_node_bytes": node_memory},
                "gpu": {"total_gpu": 0},
            },
            "nodes": [],
        },
        "oscar": {},
    }


def three(cores: int, memory: int, node_cores: int, node_memory: int) -> dict[str, Any]:
    return {
        "numberNodes": 2, "cpuFreeTotal": cores, "cpuMaxFree": node_cores,
        "memoryFreeTotal": memory, "memoryMaxFree": node_memory, "detail": [],
    }  # fmt: skip


@pytest.mark.parametrize("form", [four, three])
@pytest.mark.parametrize(
    ("free", "workers"),
    [
        ((20_000, 64 * GIB, 8000, 32 * GIB), 8),  # 0.8 x 20 / 2: cores decide
        ((64_000, 20 * GIB, 8000, 10 * GIB), 8),  # 0.8 x 20 / 2: memory decides
        ((2000, 2 * GIB, 2000, 2 * GIB), 1),  # 0.8 of it hold none, yet one fits
    ],
)
def test_the_scarcer_of_both_decides(form: Any, free: Any, workers: int) -> None:
    assert Need(2, 2 * GIB).workers(Capacity.of(form(*free))) == workers


@pytest.mark.parametrize(
    "free",
    [
        (0, 0, 0, 0),
        (-500, 64 * GIB, -100, 32 * GIB),  # use beyond what is allotted
        (20_000, 64 * GIB, 1900, 32 * GIB),  # much is free, and on no node enough
        (20_000, 64 * GIB, 8000, 2 * GIB - 1),
    ],
)
def test_where_nothing_fits_it_says_so(free: Any) -> None:
    with pytest.raises(SettingError, match="no worker fits: one requests 2 cores and 2 GiB"):
        Need(2, 2 * GIB).workers(Capacity.of(four(*free)))


@pytest.mark.parametrize(
    "status",
    [{}, [], None, {"cluster": {}}, {"cluster": {"metrics": None}}, {"cpuFreeTotal": "much"},
     {**three(1, 1, 1, 1), "memoryFreeTotal": None}],
)  # fmt: skip
def test_a_status_of_no_known_form(status: Any) -> None:
    with pytest.raises(SettingError, match=r"unknown form.*--workers"):
        Capacity.of(status)


def test_what_a_worker_needs_is_read_from_its_service() -> None:
    assert Need.of_service(named("pi10-batch")) == Need(2, 2 * GIB)
    assert Need.of({}) == Need(0.2, 256 * 2**20)  # OSCAR's own defaults
    for said in ({"cpu": "0"}, {"memory": "0Mi"}, {"cpu": "two"}):
        with pytest.raises(SettingError):
            Need.of(said)
