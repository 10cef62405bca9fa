"""Watches with a registered model, and changes to the next one without mixing the two.

Each model has an output folder of its own below ``--out``, named by its number in order, its
version and its hash, so that no table holds two models. A change waits until the bin that is being
recorded is complete. Then the work in progress is published, the tables of the folder are finished
as at a stop, and the ledger goes on in the next folder: no input is done twice, and the lines go on
under the same id.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pi10_classifier.classify import RunResult
from pi10_classifier.errors import Code, OutputError, Pi10Error, SettingError, output_error
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import LOG, Resolved, resolve
from pi10_classifier.results.run_folder import JOURNAL, SETTINGS
from pi10_classifier.watch.inputs.between_bins import NextModel
from pi10_classifier.watch.ledger import FILE
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.watcher import watch

POLL_S = 60.0
_FOLDER = re.compile(r"(?P<number>[0-9]{4})-v[0-9]+-(?P<digest>[0-9a-f]{12})")
# what a new folder's ledger does not take over: parts lie in the folder before, counts are another
# model's, and so are the charts of its reference; line: is already told of
_LEFT = (
    "delete from parts",
    "delete from superseded",
    "delete from images",
    "delete from sampled where line is null",
    "delete from facts where name = 'drift'",
    "update inputs set part = 0",
    "update away set part = 0",
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What was watched with one model: its folder, its package, and the run."""

    folder: Path
    package: Path
    run: RunResult


def follow(
    source: str,
    out: Path,
    settings: Settings,
    plan: WatchOptions,
    reference: str,
    *,
    poll_s: float = POLL_S,
    asked: SimpleQueue[None] | None = None,
    ended: Callable[[Watched], None] = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    **shown: Any,
) -> Watched:
    """Watch as :func:`watcher.watch`, with the version that ``reference`` names at any time.

    settings: their ``model`` is replaced. poll_s: seconds between questions to the registry; 0 for
    none. asked: what is put into it has the registry asked at once. ended: called with each model's
    finished run but the last, which is returned. shown: as for ``watch``. Raises as ``watch``, and
    RegistryAwayError where no version is cached.
    """
    if not (poll_s == 0 or 1 <= poll_s <= 86_400):
        raise SettingError(f"--model-poll is {poll_s:g}; it must be 0, or 1 to 86400 seconds")
    now = resolve(reference, environ, keep=True)
    if now.away:
        LOG.warning("%s; going on with %s, as of %s", now.away, now, now.since)
    question = _Question(reference, settings, now, poll_s, environ, asked or SimpleQueue())
    try:
        while True:
            folder = _folder_for(out, question.now)
            following = NextModel(lambda: question.new is not None)
            now = question.now
            try:
                run = watch(
                    source, folder, settings.with_model(now.folder), plan,
                    environ=environ, following=following, **shown,
                )  # fmt: skip
            except OutputError:
                if not following.taken:
                    raise
                continue  # a full disk: go on with this model, whose start waits for room
            done = Watched(folder, now.folder, run)
            if not following.taken:
                return done
            new = question.go_on()
            if new.digest == now.digest:  # the alias went back meanwhile
                continue
            LOG.warning("%s; results go on in %s", new, _path_of(out, new, folder))
            ended(done)
    finally:
        question.close()


class _Question:
    """A thread that asks the registry.

    now: the version in use. new: another one, once it is seen to be usable; None again where the
    alias goes back before it is taken.
    """

    def __init__(
        self, reference: str, settings: Settings, now: Resolved, poll_s: float,
        environ: Mapping[str, str], asked: SimpleQueue[None],
    ) -> None:  # fmt: skip
        self.now = now
        self.new: Resolved | None = None
        self._reference, self._settings = reference, settings
        self._poll_s, self._environ, self._asked = poll_s, environ, asked
        self._lock = threading.Lock()
        self._ends = False
        self._told = self._refused = ""
        threading.Thread(target=self._run, name="pi10-model", daemon=True).start()

    def close(self) -> None:
        self._ends = True
        self._asked.put(None)

    def go_on(self) -> Resolved:
        """The version to go on with, in use from now on."""
        with self._lock:
            self.now, self.new = self.new or self.now, None
            return self.now

    def _run(self) -> None:
        while True:
            by_person = True
            try:
                self._asked.get(timeout=self._poll_s or None)
            except Empty:
                by_person = False
            if self._ends:
                return
            if by_person:
                self._told = self._refused = ""
            try:
                problem = self._ask(by_person)
            except (Pi10Error, OSError) as error:
                problem = str(error)
            if problem and problem != self._told:
                LOG.warning("%s; going on with %s", problem, self.now)
            self._told = problem

    def _ask(self, by_person: bool) -> str:
        """Ask once; returns why the registry did not answer, "" if it did."""
        answer = resolve(self._reference, self._environ)
        with self._lock:
            known = self.new or self.now
            if answer.digest == self.now.digest:
                self.new, self._refused = None, ""
        if by_person and not answer.away and answer.digest == known.digest:
            LOG.warning("%s, as before", answer)
        if answer.digest in (self._refused, known.digest, self.now.digest):
            return answer.away  # a refused one is not loaded again: it would only cost
        self._refused = answer.digest
        self._check(answer)
        with self._lock:
            self.new, self._refused = answer, ""
        LOG.warning("%s; it is taken when the bin in work is complete", answer)
        return answer.away

    def _check(self, answer: Resolved) -> None:
        """Load the model once. Raises ModelError or SettingError where it could not be used."""
        model = Model.load(answer.folder, self._settings.with_model(answer.folder).device)
        self._settings.with_model(answer.folder).with_reference(model.package)


def _folder_for(out: Path, model: Resolved) -> Path:
    """The folder of this model's results: the last one if it is the model's, else a new one.

    A new folder takes over the ledger of the last one. Raises SettingError or OutputError.
    """
    if (out / JOURNAL / SETTINGS).is_file():
        raise SettingError(
            f"{out} holds a run of one model; with a registered model that may change, each model"
            " gets a folder below --out: choose another --out, or give a fixed version as"
            f" models:/{model.reference.name}/{model.version}"
        )
    last = _last(out)
    folder = _path_of(out, model, last)
    if folder != last:
        journal = folder / JOURNAL
        try:
            journal.mkdir(parents=True, exist_ok=True)
            if last is not None:
                _hand_over(last / JOURNAL / FILE, journal / FILE)
        except OSError as error:
            raise output_error(error, journal) from error
    return folder


def _path_of(out: Path, model: Resolved, last: Path | None) -> Path:
    if last is not None and last.name.endswith(f"-{model.digest[:12]}"):
        return last
    number = int(last.name[:4]) + 1 if last else 1
    return out / f"{number:04d}-v{model.version}-{model.digest[:12]}"


def _last(out: Path) -> Path | None:
    """The newest folder that has a ledger: one without was cut while it was made."""
    names = sorted(path for path in out.glob("*-v*-*") if _FOLDER.fullmatch(path.name))
    made = [path for path in names if (path / JOURNAL / FILE).is_file()]
    return made[-1] if made else None


def _hand_over(before: Path, after: Path) -> None:
    """Copy a ledger for the next folder: the same inputs and lines, without parts and counts."""
    with atomic_path(after) as temporary:
        try:
            with (
                closing(sqlite3.connect(before)) as old,
                closing(sqlite3.connect(temporary, isolation_level=None)) as new,
            ):
                old.backup(new)
                new.execute("begin immediate")
                for statement in _LEFT:
                    new.execute(statement)
                new.execute("commit")
        except sqlite3.DatabaseError as error:
            code = Code.DISK_FULL if "full" in str(error) else Code.STORAGE_UNAVAILABLE
            raise OutputError(
                code, f"{before} cannot be copied: {error}; check the disk"
            ) from error
