"""A pass of the service over its bucket: answer deliveries, and hold a round if one is due.

Each event starts one pass, as does `pi10 oscar retrain`; a lost event is made good by the next.
In the output folder::

    answers/KEY.VERSION.json   what was taken of a delivery
    status.json                what the last pass found
    rounds/TIME/               a round: report, labels, manifest, log, package, both models' answers
    test/frozen-test.tar       the frozen test; delete it to have another drawn
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pi10_classifier.errors import InputError, OutputError, output_error
from pi10_classifier.model.package import Package
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.records.record import json_bytes
from pi10_classifier.retraining.answers import Deliveries
from pi10_classifier.retraining.frozen_test import PICTURES
from pi10_classifier.retraining.lease import LOST_AFTER_S, Lease
from pi10_classifier.retraining.pool import Pool
from pi10_classifier.retraining.rounds import (
    LABELS,
    TEST,
    Known,
    Outcome,
    Round,
    read_labels_known,
)
from pi10_classifier.retraining.settings import RetrainSettings

ROUNDS, STATUS, FROZEN = "rounds/", "status.json", f"test/{TEST}"
BEGUN, REPORT = "begun.json", "report.json"
_CAP = 2**26
_POLL_S = 1.0
_GIB = 2**30


class Retraining:
    """Retrains one champion from one bucket. work: a folder on this disk, emptied for a round."""

    def __init__(
        self,
        source: Bucket,
        out: Bucket,
        champion: Package,
        settings: RetrainSettings,
        work: Path,
        environ: Mapping[str, str],
        *,
        emit: Callable[[str], None],
        raise_if_cancelled: Callable[[], None] = lambda: None,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self._out, self._champion, self._settings = out, champion, settings
        self._work, self._environ, self._emit = work, environ, emit
        self._raise_if_cancelled = raise_if_cancelled
        self._lost_after_s = lost_after_s
        try:
            (work / PICTURES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(error, work) from error
        self._deliveries = Deliveries(
            source, out, work, champion.classes, settings.limits.gib * _GIB, emit
        )

    def run(self) -> dict[str, Any]:
        """One pass; returns the status, which is also stored as ``status.json``.

        Raises InputError if the storage does not answer, OutputError if the disk is full, and
        KeyboardInterrupt when it is asked to stop.
        """
        self._deliveries.answer(self._raise_if_cancelled)
        while True:
            with Lease(self._out, lost_after_s=self._lost_after_s) as lease:
                if not lease.leads:
                    self._emit("another job holds a round, and takes these deliveries in")
                    return {"state": "elsewhere", "reason": "another job holds a round"}
                self._settle()
                self._deliveries.answer(self._raise_if_cancelled)
                status = self._round()
                self._out.put(STATUS, json_bytes(status))
            # a job that met our marker has gone, and its delivery may have come after our list
            if not self._deliveries.answer(self._raise_if_cancelled):
                return status

    def _settle(self) -> None:
        """Wait until no delivery has come for a while: what belongs together is in one round."""
        pause = self._settings.limits.settle_s
        while True:
            listed = self._deliveries.listed()
            if not listed:
                return
            age = (self._out.now() - listed[-1].modified).total_seconds()
            if age >= pause:
                return
            until = time.monotonic() + pause - age
            while time.monotonic() < until:
                self._raise_if_cancelled()
                time.sleep(min(_POLL_S, max(0.0, until - time.monotonic())))

    def _round(self) -> dict[str, Any]:
        known = self._known()
        now = self._out.now()
        round_id = f"{now:%Y%m%dT%H%M%SZ}"
        held = Round(
            self._work, round_id, self._champion, self._settings, self._environ,
            emit=self._emit, raise_if_cancelled=self._raise_if_cancelled,
        )  # fmt: skip
        deliveries = list(self._deliveries.accepted(self._raise_if_cancelled))
        pool, report = held.gather(deliveries, known)
        if report["state"] == "waiting":
            self._emit(f"no round: {report['reason']}")
            return report
        digest = _digest(pool, self._champion)
        if known.killed.get(digest, 0) >= self._settings.limits.attempts:
            reason = (
                f"{known.killed[digest]} rounds with these labels began and never ended; look into "
                f"the job's logs, deliver other labels, or delete {self._out}{ROUNDS}*/{BEGUN}"
            )
            self._emit(f"no round: {reason}")
            return report | {"state": "set_aside", "reason": reason}
        where = f"{ROUNDS}{round_id}/"
        self._out.put(f"{where}{BEGUN}", json_bytes({"labels": digest}))
        try:
            outcome = held.run(pool, report, known)
            self._store(where, outcome)
        except (KeyboardInterrupt, InputError, OutputError):
            self._out.delete(f"{where}{BEGUN}")  # stopped, but not by these labels
            raise
        self._out.delete(f"{where}{BEGUN}")
        self._emit(f"round {round_id}: {outcome.state}: {outcome.report['reason']}")
        return outcome.report

    def _store(self, where: str, outcome: Outcome) -> None:
        """Upload what a round made; the report last, so that where it is, all is there."""
        if outcome.fresh_test and (self._work / TEST).is_file():
            self._out.upload(self._work / TEST, FROZEN)
        for name in sorted(outcome.files, key=lambda name: name == REPORT):
            self._out.upload(self._work / name, f"{where}{name}")

    def _known(self) -> Known:
        """What earlier rounds left. Files of this pass's own earlier round are removed."""
        for path in self._work.iterdir():
            if path.name != PICTURES:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        ended: set[str] = set()
        begun: set[str] = set()
        labels = ""
        for entry in self._out.outputs(ROUNDS):
            _, round_id, name = entry.name.split("/", 2)
            if name == REPORT:
                ended.add(round_id)
            elif name == BEGUN:
                begun.add(round_id)
            elif name == LABELS:
                labels = max(labels, round_id)
        data = self._out.get_if_there(f"{ROUNDS}{labels}/{LABELS}", _CAP) if labels else None
        killed: Counter[str] = Counter()
        for round_id in begun - ended:
            killed[self._labels_of(round_id)] += 1
        test = self._work / f"stored-{TEST}"
        try:
            self._out.download(FROZEN, test)
        except InputError as error:
            if error.code.value != "object_gone":
                raise
        return Known(
            read_labels_known(data) if data else frozenset(),
            test if test.is_file() else None,
            killed,
        )  # fmt: skip

    def _labels_of(self, round_id: str) -> str:
        data = self._out.get_if_there(f"{ROUNDS}{round_id}/{BEGUN}")
        try:
            return str(json.loads(data or b"{}").get("labels", ""))
        except (ValueError, AttributeError):
            return ""


def _digest(pool: Pool, champion: Package) -> str:
    """A hash of what a round is made from: pictures, labels and champion."""
    lines = [champion.sha256, *(f"{x.picture.sha256} {x.label}" for x in pool.labelled)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
