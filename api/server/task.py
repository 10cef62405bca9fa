"""Runs one piece of work in a worker and returns its output and statistics.

The workers import this module, so it must not import DEEPaaS: that would cost each 40 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pi10_classifier.api.predictions.served_model import tell
from pi10_classifier.api.request_stats import CURRENT, Drift, RequestStats


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer: the output and the request's statistics."""

    output: Any
    stages: dict[str, float]
    totals: Counter[str]
    failures: Counter[str]
    drift: Drift


def in_service(folder: str, function: Callable[..., Any], *args: Any) -> Any:
    """Run ``function(*args)`` in a worker with the package in ``folder`` in service."""
    tell(folder)
    return function(*args)


def work(request_id: str, function: Callable[..., Any], kwargs: dict[str, Any]) -> Answer:
    """Run ``function(**kwargs)`` in a worker; it may add to the current RequestStats."""
    stats = RequestStats(request_id)
    token = CURRENT.set(stats)
    try:
        output = function(**kwargs)
    finally:
        CURRENT.reset(token)
    return Answer(output, stats.stages, stats.totals, stats.failures, stats.drift)
