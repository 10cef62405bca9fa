"""The options and the report of one reconcile run."""

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

    grace_s: an input is submitted only if it, or its last submission, is at least this old; 0
    assumes that no job is running. attempts: an input is set aside after so many jobs that began
    on it and never ended. limit: the most submissions in one run. failed: also submit failures,
    those with ``codes`` (all if empty).
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
            raise SettingError(
                f"--limit is {self.limit} and --jobs {self.parallel}; --limit must be 0 or more, "
                "--jobs 1 to 64"
            )
        known = {code.value for code in Code}
        for code in self.codes:
            if code not in known:
                raise SettingError(f"--code {code!r} is unknown; use {', '.join(sorted(known))}")


@dataclass(slots=True)
class Report:
    """The counts of one run: inputs = results + failures + skipped + gone + open.

    ``skipped``: not images (sidecars, folder markers). ``gone``: deleted since they were listed.
    ``open``: without a record; they are submitted, wait for their event, or are not submitted.
    The examples of failures read ``code: key``.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, key: str = "") -> None:
        with self._lock:  # submitting threads count too
            self.counts[kind] += 1
            examples = self.examples.setdefault(kind, [])
            if key and len(examples) < _EXAMPLES:
                examples.append(key)

    @property
    def open(self) -> int:
        c = self.counts
        return c["inputs"] - c["results"] - c["failures"] - c["skipped"] - c["gone"]

    def full(self, kind: str) -> bool:
        """True if the report takes no more examples of this kind."""
        with self._lock:
            return len(self.examples.get(kind, ())) >= _EXAMPLES

    def exit_code(self, *, scheduled: bool = False) -> ExitCode:
        """The exit code. In a ``scheduled`` run, failures and open inputs are not an error."""
        if not self.counts["inputs"]:
            return ExitCode.NOTHING_READ
        # known failures would fail every scheduled run, and the next run handles open inputs
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
