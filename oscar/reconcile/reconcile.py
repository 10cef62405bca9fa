"""Finds inputs without a record of the current model, and submits them.

It can run while events arrive: an input younger than a grace period is left to its event, and
an input that is classified twice gets the same record twice. An input on which jobs begin but
never end, because it kills them, is set aside. An input that only waits in a queue is not.
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
_SEEN_WITHIN_S = 60.0  # a running job rewrites its marker every 15 s
_LONGEST_WAIT = 32  # longest backoff for inputs that never began, in grace periods


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
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> None:
        if source.place.holds(out.place):
            raise SettingError(f"output {out} lies under input {source}; give it its own folder")
        self._source, self._out = source, out
        self._package, self._identity = package, identity
        self._submitter, self._plan = submitter, plan
        self._raise_if_cancelled = raise_if_cancelled
        self.report = Report()

    def run(self) -> Report:
        """Go through all keys once. Raises SettingError if no request can succeed."""
        now = datetime.now(UTC) if self._plan.dry_run else self._out.now()
        pool = ThreadPoolExecutor(self._plan.parallel, thread_name_prefix="reconcile")
        running: set[Future[None]] = set()
        try:
            for pair in self._pairs():
                self._raise_if_cancelled()
                if not self._is_due(pair, now):
                    continue
                # an input that may have killed this process before runs alone
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
            self._out.outputs_ahead(self._source.place.prefix),
            self._identity,
            self._out.outputs,
            self._unpaired,
        )

    def _inputs(self) -> Iterator[Listed]:
        for listed in self._source.inputs():
            self.report.count("inputs")
            if skip_reason(listed.version.key):
                self.report.count("skipped")
            else:
                yield listed

    def _unpaired(self, output: Output, name: ResultName) -> None:
        self.report.count("orphans")
        if name.ending.startswith(ATTEMPT):
            self._delete(output.name)

    def _is_due(self, pair: Pair, now: datetime) -> bool:
        """Count the pair by its state; True if it must be submitted."""
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
            report.count("never_begun", key)  # a fault of the service: reported to its operator
        if report.counts["due"] >= self._plan.limit:
            report.count("beyond_limit")
            return False
        report.count("due", key)
        return not self._plan.dry_run

    def _wanted(self, pair: Pair) -> bool:
        """True if this failure must be retried."""
        if not self._plan.failed:
            return False
        if self._plan.codes:
            return self._code(pair.names[Ending.FAILURE]) in self._plan.codes
        return True

    def _code(self, *names: str) -> str:
        """The failure code in the first of these records that exists."""
        for name in names:
            data = self._out.get_if_there(name)
            if data is not None:
                try:
                    return str(json.loads(data)["failure"]["code"])
                except (ValueError, LookupError, TypeError):
                    return "unreadable record"
        return "no record"

    def _count_failure(self, key: str, *names: str) -> None:
        # only failures that the report names need a download
        example = ""
        if not self.report.full("failures"):
            try:
                example = f"{self._code(*names)}: {key}"
            except InputError as error:  # an example must not end the run
                example = f"record unreadable ({error.code}): {key}"
        self.report.count("failures", example)

    def _at_work(self, pair: Pair, now: datetime) -> bool:
        """True if a job shows by its marker that it is running."""
        # with a grace of 0 no times are compared: the server's clock has whole seconds
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
        # backoff: each further submission waits twice as long, so that a long queue does not fill
        # up with the same inputs
        unseen = max(0, pair.attempts - pair.begun - 1)
        return now - pair.last_attempt < grace * min(1 << unseen, _LONGEST_WAIT)

    def _submit(self, pair: Pair) -> None:
        version = pair.listed.version
        number = pair.next_attempt
        if pair.state is PairState.FAILURE:
            self._forget(pair)
            number = 1
        name = self._name(pair, f"{ATTEMPT}{number}")
        if not self._submitter.here:  # in this process, the marker of the work is enough
            self._out.put(name, b"")
        try:
            outcome = self._submitter.submit(version, number)
        except InputError as error:
            self._delete(name)
            self.report.count(
                "gone" if error.code is Code.OBJECT_GONE else "unavailable",
                f"{version.key}: {error.message}",
            )
            return
        except Pi10Error:  # no input can be submitted now: this does not count as an attempt
            self._delete(name)
            raise
        self.report.count("submitted", version.key)
        if outcome == "failure":
            names = (self._name(pair, ending) for ending in (Ending.FAILURE, Ending.RETRY))
            self._count_failure(version.key, *names)
        elif outcome != "submitted":
            self.report.count(f"{outcome}s", version.key)
        if outcome != "submitted":
            for ending, left in pair.names.items():
                if ending.startswith(ATTEMPT) or (outcome == "result" and ending == Ending.RETRY):
                    self._delete(left)
            if outcome == "result" and pair.begun:  # another run may have set it aside meanwhile
                self._delete(self._name(pair, Ending.FAILURE))

    def _forget(self, pair: Pair) -> None:
        """Remove a failure's files before it is retried, so that its attempts start at zero."""
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
        """Write the failure; False if a job is running or has ended meanwhile.

        A job first removes its marker, then any failure record, then uploads its result. So
        either the job finds this failure, or we see that its marker changed.
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
            f"{pair.begun} jobs began on it and none finished; read the service's logs, then run "
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
    """Wait until at most ``most`` run. Raises what one of them raised."""
    while len(running) > most:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
    return running
