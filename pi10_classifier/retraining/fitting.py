"""Fits a candidate within limits: a new head on few labels, the whole network on many.

The rule: with fewer than ``train_from`` training pictures of the rarest class, `pi10 adapt` fits a
new head on the champion's features; otherwise `pi10 train` goes on from the champion's weights.
Both run as their own process, which is stopped when its time is over and whose memory is returned.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.retraining.frozen_test import TABLE, Division
from pi10_classifier.retraining.limits import Limits

ADAPT, TRAIN = "adapt", "train"
MANIFEST, LOG = "manifest.csv", "training.log"
# of the minutes: loading, export and test need the rest
_TRAINING_SHARE = 0.8
_TERMINATE_S = 20.0
_POLL_S = 0.2
_TAIL = 4000
# what `pi10 train` says of a package whose weights it cannot go on from
_NO_START = re.compile(r"does not fit|cannot be continued|only convolutional|no package of")
_NOT_BETTER = re.compile(r"is not better than .* as it is: .*")


class NoCandidateError(SettingError):
    """A fit that ended without a package: it failed, took too long, or is not better."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package, how it came about, and the folder of its training ("" for a head)."""

    package: Path
    how: str
    seconds: float
    command: str
    notes: tuple[str, ...] = ()
    training: Path | None = None


def rule(division: Division, classes: Sequence[str], limits: Limits) -> str:
    """``adapt`` or ``train``, by the training pictures of the rarest class."""
    counts = [sum(s.group == name for s in division.of("train")) for name in classes]
    return TRAIN if min(counts) >= limits.train_from else ADAPT


def fit(
    work: Path,
    how: str,
    champion: Path,
    limits: Limits,
    *,
    name: str,
    recipe: str = "small",
    init: str = "",
    environ: Mapping[str, str] = os.environ,
    raise_if_cancelled: Callable[[], None] = lambda: None,
) -> Candidate:
    """Fit a candidate on the table and manifest in ``work``.

    recipe, init: of `pi10 train`; by default it begins with the champion's weights, and with the
    recipe's pretrained ones if these do not fit its network. Raises NoCandidateError.
    """
    began = time.monotonic()
    out = work / "fitted"
    if how == ADAPT:
        words = ["adapt", "--model", str(champion), "--gallery", str(work / TABLE),
                 "--manifest", str(work / MANIFEST), "--name", name, "--out", str(out)]  # fmt: skip
        _run(words, work, limits.minutes, environ, raise_if_cancelled)
        return Candidate(out, how, time.monotonic() - began, _shown(words, work))
    notes: list[str] = []
    starts = [init] if init else [str(champion), "pretrained"]
    for number, start in enumerate(starts):
        words = ["train", str(work / TABLE), "--manifest", str(work / MANIFEST), "--recipe", recipe,
                 "--init", start, "--name", name, "--no-tracking",
                 "--set", f"minutes={limits.minutes * _TRAINING_SHARE:g}",
                 "--out", str(out / str(number))]  # fmt: skip
        try:
            _run(words, work, limits.minutes, environ, raise_if_cancelled)
        except NoCandidateError as error:
            if number + 1 == len(starts) or not _NO_START.search(error.message):
                raise
            notes.append(f"the champion's weights cannot be continued: {error.message[:300]}")
            continue
        seed = out / str(number) / "seed-0"
        seconds = time.monotonic() - began
        return Candidate(seed / "package", how, seconds, _shown(words, work), tuple(notes), seed)
    raise NoCandidateError("there are no weights to begin with; set PI10_RETRAIN_INIT")


def _run(
    words: Sequence[str],
    work: Path,
    minutes: float,
    environ: Mapping[str, str],
    raise_if_cancelled: Callable[[], None],
) -> None:
    """Run ``pi10 WORDS`` for at most ``minutes``. Raises NoCandidateError with its last line."""
    log = work / LOG
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603  our own program, no shell
            [sys.executable, "-m", "pi10_classifier", *words],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=work,
            env={**environ, "COLUMNS": "200"}, start_new_session=True,
        )  # fmt: skip
    until = time.monotonic() + 60 * minutes
    try:
        while process.poll() is None:
            raise_if_cancelled()
            if time.monotonic() > until:
                raise NoCandidateError(
                    f"`pi10 {words[0]}` was stopped after {minutes:g} minutes, which is the limit "
                    "(PI10_RETRAIN_MINUTES); raise it, or lower PI10_RETRAIN_IMAGES"
                )
            time.sleep(_POLL_S)
    finally:
        _stop(process)
    # 3: complete except for files that were left out, which are told in its log
    if process.returncode not in (ExitCode.OK, ExitCode.SOME_FAILED):
        tail = log.read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
        last = " ".join(tail.splitlines()[-1:]) or f"exit status {process.returncode}"
        last = last.removeprefix("pi10: ").partition("; --anyway")[0]
        if process.returncode < 0:
            last = f"it was killed by signal {-process.returncode}, perhaps for its memory; {last}"
        raise NoCandidateError(f"`pi10 {words[0]}` made no candidate: {last[:1500]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)  # it leads its own process group
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERMINATE_S)
            return


def _shown(words: Sequence[str], work: Path) -> str:
    """The command for a report, without folders of the machine."""
    return " ".join(["pi10", *(word.replace(f"{work}/", "") for word in words)])


def is_not_better(error: NoCandidateError) -> bool:
    """Whether the fit ended because the head is not better than the champion."""
    return bool(_NOT_BETTER.search(error.message))
