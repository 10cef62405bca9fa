"""Labelling in a worker: draw a sample of a page's run, estimate by its labels, correct the run."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from pi10_classifier.api.predictions.uploads import Upload, UploadedFiles
from pi10_classifier.api.request_stats import stage
from pi10_classifier.api.settings import Service
from pi10_classifier.api.webpage.worker import CANCEL, MODEL, OUT, PAGE, Cancelled, write_zip
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.labelling.estimation.estimate import CorrectedRow
from pi10_classifier.labelling.session import Session

JOB = "job.json"  # how far the work is
SHOWN_ROWS = 60  # of the corrected densities; corrected.csv holds all
_EVERY_S = 0.3


class _JobProgress:
    """Tells the parent how far the work is, by a file, and heeds its wish to stop."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._next_s = 0.0

    def of(self, step: str) -> Callable[[int, int], None]:
        self._next_s = 0.0

        def reached(done: int, wanted: int) -> None:
            now = monotonic()
            if now < self._next_s:
                return
            self._next_s = now + _EVERY_S
            if (self._home / CANCEL).exists() or not self._home.exists():
                raise Cancelled
            fields = {"step": step, "done": done, "wanted": wanted}
            write_atomically(self._home / JOB, json.dumps(fields).encode())

        reached(0, 0)
        return reached


def draw_sample(folder: str, uploads: tuple[Upload, ...], size: int) -> Session:
    """Draw ``size`` particles, or so many more as are missing, and read their pictures.

    Raises Cancelled, and SettingError where no sample can be drawn.
    """
    from pi10_classifier.labelling.draw import draw

    home = Path(folder)
    files = UploadedFiles(uploads, Service.from_environ().limits)
    progress = _JobProgress(home)
    with _named(home), stage("draw"):
        draw(home / OUT, size, progress=progress.of("drawing"))
        reached = progress.of("pictures")
        return Session.open(home / OUT, reader=files.of_source, progress=reached)


def densities(session: Session, labeller: str, stratum: str) -> list[CorrectedRow]:
    """As ``Session.density``."""
    return session.density(labeller, stratum)


def history(session: Session, labeller: str, stratum: str) -> list[list[CorrectedRow]]:
    """As ``Session.history``."""
    return list(session.history(labeller, stratum))


def correct(folder: str) -> dict[str, Any]:
    """Estimate by the labels of all who agree; bring report, downloads and ``page.json`` up to it.

    Returns what the page tells: rows, notes where a stratum has too few labels, labels left out.
    Raises SettingError.
    """
    from pi10_classifier.labelling.estimation.estimate import estimate_run
    from pi10_classifier.report.page import write_report

    home = Path(folder)
    progress = _JobProgress(home)
    with _named(home):
        progress.of("estimating")
        with stage("estimate"):
            done = estimate_run(home / OUT)
        progress.of("writing")
        with stage("write"):
            write_report(home / OUT, Path(os.fsdecode((home / MODEL).read_bytes())))
            write_zip(home)
    names = (
        "stratum", "label", "per_litre", "per_litre_low", "per_litre_high", "plain_per_litre",
        "labelled", "publishable",
    )  # fmt: skip
    rows = [{name: fields[name] for name in names} for fields in map(asdict, done.rows)]
    notes = dict.fromkeys(
        row.note if row.stratum == "all" else f"{row.stratum}: {row.note}"
        for row in done.rows if row.note
    )  # fmt: skip
    told = {
        "rows": rows[:SHOWN_ROWS],
        "rows_all": len(rows),
        "notes": list(notes)[:SHOWN_ROWS],
        "publishable": all(row.publishable for row in done.rows),
        "labelled": sum({row.stratum: row.labelled for row in done.rows}.values()),
        "contradicting": done.contradicting,
    }
    page = json.loads((home / PAGE).read_text("utf-8"))
    page["corrected"] = told
    write_atomically(home / PAGE, json.dumps(page, ensure_ascii=False).encode())
    return told


@contextlib.contextmanager
def _named(home: Path) -> Iterator[None]:
    """Say "these results" for a folder that nobody but this service knows."""
    try:
        yield
    except SettingError as error:
        run = str(home / OUT)
        # what is wrong, without the command that mends it elsewhere
        message = error.message.replace(run, "these results").split("; run: pi10")[0]
        raise SettingError(message) from error
