"""Options and report of one reconcile run."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pi10_classifier.errors import Code, ExitCode, SettingError
from pi10_classifier.oscar.records.naming import MAX_ATTEMPTS

_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """How to reconcile.

    grace_s: how old an input, or its last submission, must be before it is (again)
    submitted; 0 takes for granted that nothing is under way. attempts: after how many
    jobs that began on it and never ended it is set aside. limit: how many are submitted at the
    most in one run. failed: submit failures too, of these codes (all where empty).
    """

    grace_s: float = 600.0
    attempts: int = 3
    limit: int = 10_000
    parallel: int = 4
    dry_run: bool = False
    failed: bool = False
    codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.grace_s < 0:
            raise SettingError(f"--grace is {self.grace_s}; give seconds, 0 or more")
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise SettingError(f"--attempts is {self.attempts}; it must be 1 to {MAX_ATTEMPTS}")
        if self.limit < 0 or not 1 <= self.parallel <= 64:
            raise SettingError("--limit must be 0 or more, --jobs 1 to 64")
        known = {code.value for code in Code}
        for code in self.codes:
            if code not in known:
                raise SettingError(f"--code {code!r} is unknown; use {', '.join(sorted(known))}")


@dataclass(slots=True)
class Report:
    """What was found and done: inputs = results + failures + skipped + gone + open.

    ``skipped`` are no images (sidecars, folder markers), ``gone`` were deleted since they
    were listed, ``open`` have no record yet: submitted, waiting for their event, not
    submitted. Failures are told as ``code: key``.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, key: str = "") -> None:
        with self._lock:  # submitting threads count too
            self.counts[what] += 1
            listed = self.examples.setdefault(what, [])
            if key and len(listed) < _EXAMPLES:
                listed.append(key)

    @property
    def open(self) -> int:
        c = self.counts
        return c["inputs"] - c["results"] - c["failures"] - c["skipped"] - c["gone"]

    def full(self, what: str) -> bool:
        """True where no more of these are told by name."""
        with self._lock:
            return len(self.examples.get(what, ())) >= _EXAMPLES

    def exit_code(self, *, scheduled: bool = False) -> ExitCode:
        """What to tell the shell; ``scheduled`` takes for well what the next run mends."""
        if not self.counts["inputs"]:
            return ExitCode.NOTHING_READ
        # by the clock, known failures stay as they are, and open inputs are the next run's
        bad = self.counts["unavailable"] if scheduled else self.counts["failures"] + self.open
        return ExitCode.SOME_FAILED if bad else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        names = ("inputs", "results", "failures", "skipped", "gone")
        more = ("submitted", "set_aside")
        shown = ("failures", "submitted", "set_aside", "unavailable", "gone", "never_begun")
        return {
            "totals": {name: self.counts[name] for name in names}
            | {"open": self.open}
            | {name: self.counts[name] for name in more},
            "counts": dict(sorted(self.counts.items())),
            "examples": {k: v for k, v in sorted(self.examples.items()) if k in shown and v},
        }
