"""Finds inputs without a record of the current model, and submits them.

Safe beside live events: an input younger than a grace period is left to its event, and
an input done twice has the same record twice. What jobs begin on again and again and never
end, because it kills whoever takes it up, is set aside; what only waits in a queue is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

from pi10_classifier.errors import Code, InputError, Pi10Error, SettingError
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.bucket import OURS, Bucket, Listed, Output
from pi10_classifier.oscar.reconcile.attempt_marker import look
from pi10_classifier.oscar.reconcile.options import ReconcileOptions, Report
from pi10_classifier.oscar.reconcile.pairing import Pair, PairState, pairs
from pi10_classifier.oscar.reconcile.resubmit import Submitter
from pi10_classifier.oscar.records.naming import ATTEMPT, Ending, ResultName, skip_reason
from pi10_classifier.oscar.records.record import ObjectOutcome, json_bytes, record_bytes

__all__ = ["ReconcileOptions", "Reconciler", "Report"]
_SEEN_WITHIN_S = 60.0  # a job that is at work shows it every 15 s, however short the grace
_LONGEST_WAIT = 32  # in graces, for what was submitted again and again and did not begin


class Reconciler:
    """One run over one input folder and its output folder."""

    def __init__(
        self,
        source: Bucket,
        out: Bucket,
        package: Package,
        identity: str,
        submitter: Submitter,
        plan: ReconcileOptions,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        if source.place.holds(out.place):
            raise SettingError(f"output {out} lies under input {source}; give it its own folder")
        self._source, self._out = source, out
        self._package, self._identity = package, identity
        self._submitter, self._plan, self._check = submitter, plan, check
        self.report = Report()

    def run(self) -> Report:
        """Go through all keys once. Raises SettingError where no request can succeed."""
        now = datetime.now(UTC) if self._plan.dry_run else self._out.now()
        pool = ThreadPoolExecutor(self._plan.parallel, thread_name_prefix="reconcile")
        running: set[Future[None]] = set()
        try:
            for pair in self._pairs():
                self._check()
                if not self._account(pair, now):
                    continue
                # what may have killed this process before is to take no other with it
                alone = bool(pair.begun) and self._submitter.here
                running = _done(running, 0 if alone else 2 * self._plan.parallel - 1)
                running.add(pool.submit(self._submit, pair))
                if alone:
                    running = _done(running, 0)
            _done(running, 0)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if not self._plan.dry_run:
            self._out.put(f"{OURS}reconcile.json", json_bytes(self.report.to_json()))
        return self.report

    def _pairs(self) -> Iterator[Pair]:
        return pairs(
            self._inputs(),
            self._out.outputs(self._source.place.prefix),
            self._identity,
            self._out.outputs,
            self._orphan,
        )

    def _inputs(self) -> Iterator[Listed]:
        for listed in self._source.inputs():
            self.report.count("inputs")
            if skip_reason(listed.version.key):
                self.report.count("skipped")
            else:
                yield listed

    def _orphan(self, output: Output, name: ResultName) -> None:
        self.report.count("orphans")
        if name.ending.startswith(ATTEMPT):
            self._delete(output.name)

    def _account(self, pair: Pair, now: datetime) -> bool:
        """Count the pair as it stands; True where it is to be submitted."""
        report, key, state = self.report, pair.listed.version.key, pair.state
        report.counts["stale"] += pair.stale
        for name in pair.litter():
            self._delete(name)
        if state is PairState.RESULT:
            report.count("results")
            return False
        if state is PairState.FAILURE:
            if not self._wanted(pair):
                self._count_failure(key, pair.names[Ending.FAILURE])
                return False
        elif self._at_work(pair, now):
            report.count("running", key)
            return False
        elif self._young(pair, now):
            report.count("waiting", key)
            return False
        elif pair.begun >= self._plan.attempts:
            self._set_aside(pair)
            return False
        elif not pair.begun and pair.attempts >= self._plan.attempts and state is PairState.MISSING:
            report.count("never_begun", key)  # no fault of its own: tell who runs the service
        if report.counts["due"] >= self._plan.limit:
            report.count("beyond_limit")
            return False
        report.count("due", key)
        return not self._plan.dry_run

    def _wanted(self, pair: Pair) -> bool:
        """True where this failure is to be tried again: its record goes first."""
        if not self._plan.failed:
            return False
        if self._plan.codes:
            return self._code(pair.names[Ending.FAILURE]) in self._plan.codes
        return True

    def _code(self, *names: str) -> str:
        """The failure code that the first of these records tells."""
        for name in names:
            data = self._out.get_if_there(name)
            if data is not None:
                try:
                    return str(json.loads(data)["failure"]["code"])
                except (ValueError, LookupError, TypeError):
                    return "unreadable record"
        return "no record"

    def _count_failure(self, key: str, *names: str) -> None:
        # only those that are told cost a download
        example = ""
        if not self.report.full("failures"):
            try:
                example = f"{self._code(*names)}: {key}"
            except InputError as error:  # a name in the report is worth no run
                example = f"record unreadable ({error.code}): {key}"
        self.report.count("failures", example)

    def _at_work(self, pair: Pair, now: datetime) -> bool:
        """True where a job shows that it is at work on it."""
        # a grace of 0 asks no clock: the server tells its time in whole seconds
        if not self._plan.grace_s or pair.last_begun is None:
            return False
        seconds = max(self._plan.grace_s, _SEEN_WITHIN_S)
        return now - pair.last_begun < timedelta(seconds=seconds)

    def _young(self, pair: Pair, now: datetime) -> bool:
        grace = timedelta(seconds=self._plan.grace_s)
        if not grace:
            return False
        if now - pair.listed.modified < grace:
            return True
        if pair.last_attempt is None:
            return False
        # the queue is long, or jobs are lost: each submission more waits for twice the time,
        # so that a queue is not filled with the same inputs
        unseen = max(0, pair.attempts - pair.begun - 1)
        return now - pair.last_attempt < grace * min(1 << unseen, _LONGEST_WAIT)

    def _submit(self, pair: Pair) -> None:
        version = pair.listed.version
        number = pair.next_attempt
        if pair.state is PairState.FAILURE:
            self._forget(pair)
            number = 1
        name = self._name(pair, f"{ATTEMPT}{number}")
        if not self._submitter.here:  # else what marks the work as begun is enough
            self._out.put(name, b"")
        try:
            what = self._submitter.submit(version, number)
        except InputError as error:
            self._delete(name)
            self.report.count(
                "gone" if error.code is Code.OBJECT_GONE else "unavailable",
                f"{version.key}: {error.message}",
            )
            return
        except Pi10Error:  # nobody can be submitted now: that is no attempt
            self._delete(name)
            raise
        self.report.count("submitted", version.key)
        if what == "failure":
            names = (self._name(pair, ending) for ending in (Ending.FAILURE, Ending.RETRY))
            self._count_failure(version.key, *names)
        elif what != "submitted":
            self.report.count(f"{what}s", version.key)
        if what != "submitted":
            for ending, left in pair.names.items():
                if ending.startswith(ATTEMPT) or (what == "result" and ending == Ending.RETRY):
                    self._delete(left)
            if what == "result" and pair.begun:  # another may have set it aside meanwhile
                self._delete(self._name(pair, Ending.FAILURE))

    def _forget(self, pair: Pair) -> None:
        """A failure that is tried again counts from the beginning."""
        for ending, name in pair.names.items():
            if ending in (Ending.FAILURE, Ending.RETRY) or ending.startswith(ATTEMPT):
                self._delete(name)

    def _set_aside(self, pair: Pair) -> None:
        version = pair.listed.version
        if not self._plan.dry_run and not self._put_aside(pair):
            self.report.count("running", version.key)
            return
        self.report.count("set_aside", version.key)
        if not self._plan.dry_run:
            self.report.count("failures", f"{Code.SET_ASIDE}: {version.key}")

    def _put_aside(self, pair: Pair) -> bool:
        """Write the failure; False where a job turns out to be at work or done by now.

        A job removes its marker, then a failure that it finds, then has its result uploaded:
        so either it finds this failure, or we find its marker changed.
        """
        version = pair.listed.version
        before = look(self._out, version, self._identity)
        if (
            before.state in (PairState.RESULT, PairState.FAILURE)
            or before.activity != pair.activity
        ):
            return False
        outcome = ObjectOutcome.failure(
            Code.SET_ASIDE,
            f"{pair.begun} jobs began on it and none finished; see the service's logs, then "
            "`pi10 oscar retry-failed`",
        )
        data = record_bytes(outcome, version, self._package, self._identity)
        name = self._name(pair, Ending.FAILURE)
        self._out.put(name, data)
        after = look(self._out, version, self._identity)
        if after.state is PairState.RESULT or after.activity != before.activity:
            self._delete(name)
            return False
        return True

    def _name(self, pair: Pair, ending: str) -> str:
        return str(ResultName.of(pair.listed.version, self._identity, ending))

    def _delete(self, name: str) -> None:
        if not self._plan.dry_run:
            self._out.delete(name)


def _done(running: set[Future[None]], most: int) -> set[Future[None]]:
    """Wait until no more than ``most`` run; raises what one of them raised."""
    while len(running) > most:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
    return running
