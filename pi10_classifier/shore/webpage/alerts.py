"""What a person ashore should look at: rules over a ship's state, each with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pi10_classifier.drift.quantities import CAMERA, MIX, MODEL, QUANTITIES, SEA
from pi10_classifier.shore.voyages.ships import ShipState

SILENT_MINUTES = 15
LONG_SILENT_MINUTES = 180
LONGEST_BACKLOG_HOURS = 2.0
MOST_FAILED = 0.05
MOST_SKEW_MINUTES = 5
LEAST_MISSING = 5
_DRIFT = {
    CAMERA: "than the reference: the camera; look at images, clean the flow cell, check the lamp",
    MODEL: "than the reference: the model's answers; look at images, label a sample",
    SEA: "than the reference: the sea, if no alert is of the camera; validate a sample",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """level: "warning" or "bad". text: what is wrong, the value met, what to do."""

    level: str
    code: str
    text: str


def alerts_of(state: ShipState, now: int) -> list[Alert]:
    """Alerts of a ship, the worst first. now: epoch minutes."""
    if state.received is None:
        alerts = [Alert("warning", "never_seen", "has sent nothing yet; check its token and link")]
        return alerts + _refused(state)
    silent = now - state.received
    out = []
    if silent >= SILENT_MINUTES:
        level = "bad" if silent >= LONG_SILENT_MINUTES else "warning"
        out.append(Alert(level, "silent", f"no line for {_span(silent)}; link, power or watcher?"))
    if state.trouble:
        out.append(Alert("bad", "trouble", f"the watcher waits: {state.trouble}"))
    if state.dropped:
        text = f"{state.dropped} lines were lost aboard, as the link was down for over 69 days"
        out.append(Alert("bad", "dropped", text))
    if state.more:  # the queue aboard is full, so how many wait is not known
        out.append(Alert("warning", "backlog", f"at least {state.backlog:,} inputs wait"))
    elif state.backlog_hours is not None and state.backlog_hours > LONGEST_BACKLOG_HOURS:
        text = f"{state.backlog:,} inputs wait, {state.backlog_hours:.1f} hours at the present rate"
        out.append(Alert("warning", "backlog", text))
    elif state.backlog and not state.images_per_minute:
        out.append(Alert("bad", "stalled", f"{state.backlog:,} inputs wait and none is classified"))
    if state.failed_share > MOST_FAILED:
        text = f"{state.failed_share:.0%} of the images of the last hours could not be read"
        out.append(Alert("warning", "failed", text))
    if state.ahead_minutes > MOST_SKEW_MINUTES:
        text = f"the ship's clock is {state.ahead_minutes} minutes fast; set it"
        out.append(Alert("warning", "clock", text))
    if state.missing >= LEAST_MISSING:
        out.append(Alert("warning", "missing", f"{state.missing} lines have not arrived yet"))
    out += _drift(state.drift) + _refused(state)
    return sorted(out, key=lambda alert: alert.level != "bad")


def _drift(heights: Mapping[str, float]) -> list[Alert]:
    """One alert for each of camera, model and sea."""
    by_subject: dict[str, list[str]] = {}
    for name, height in heights.items():
        side = "other" if name == MIX else "higher" if height > 0 else "lower"
        subject = SEA if name == MIX else QUANTITIES[name].subject if name in QUANTITIES else MODEL
        by_subject.setdefault(subject, []).append(f"{name} ({side})")
    return [
        Alert("warning", f"drift_{subject}", f"{', '.join(by_subject[subject])} {text}")
        for subject, text in _DRIFT.items()
        if subject in by_subject
    ]


def _refused(state: ShipState) -> list[Alert]:
    if not state.refused:
        return []
    lines = "line was" if state.refused == 1 else "lines were"
    text = f"{state.refused} {lines} refused; the last: {state.refused_reason}"
    return [Alert("warning", "refused", text)]


def _span(minutes: int) -> str:
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 2880 else f"{minutes / 1440:.0f} days"
