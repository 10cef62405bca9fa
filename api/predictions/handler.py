"""``predict`` and ``warm``: what a worker runs."""

from __future__ import annotations

import io
import mimetypes
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import marshmallow

from pi10_classifier.api.client_errors import message_of, unstored
from pi10_classifier.api.predictions import model_store, writers
from pi10_classifier.api.predictions.arguments import Wanted
from pi10_classifier.api.predictions.contact_sheet import contact_sheet
from pi10_classifier.api.predictions.inference import SHEET_IMAGES, PredictionResult, classify_items
from pi10_classifier.api.predictions.response_schema import refused
from pi10_classifier.api.predictions.served_model import FOLLOWER, yield_to_requests
from pi10_classifier.api.predictions.uploads import Spooled, Upload, UploadedFiles, clean_name
from pi10_classifier.api.request_stats import note, stage
from pi10_classifier.api.settings import Service
from pi10_classifier.classify import classify_units
from pi10_classifier.errors import Code, InputError, ModelError, Pi10Error
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.graphs.choice import chosen_device
from pi10_classifier.model.session import Model
from pi10_classifier.sources.base import Item
from pi10_classifier.sources.repeats import RepeatedFile, keep_last_copies, raise_on_repeat

_SHELF = model_store.Shelf()
_SUFFIXES = {
    writers.PARQUET: ".parquet",
    "application/csv": ".csv",
    "application/html": ".html",
}


def warm(environ: Mapping[str, str] = os.environ) -> None:
    """Load the default model and classify one image, so that the first request is fast."""
    service = Service.from_environ(environ)
    _use_once(FOLLOWER.folder(service, lambda folder: _use_once(folder, service)), service)


def _use_once(package: Path, service: Service) -> None:
    """Load a package, and classify one image with it."""
    model = _SHELF.load(package, service.device)
    with tempfile.TemporaryDirectory(prefix="pi10-warm-") as folder:
        name, data = _drawn()
        path = Path(folder) / "0"
        path.write_bytes(data)
        files = UploadedFiles((Upload(name, path),), service.limits)
        _outcome(files, model, Wanted.of({}, service), service)


@cache  # drawing takes longer than loading a model
def _drawn() -> tuple[str, bytes]:
    """An image of the simulator: its name and bytes."""
    from pi10_classifier.simulate import simulate_cruise

    with tempfile.TemporaryDirectory(prefix="pi10-drawn-") as folder:
        [path] = simulate_cruise(Path(folder), bins=1, images=1)
        return path.name, path.read_bytes()


class _Preparation:
    """A package that is being loaded beside the one in service."""

    def __init__(self, package: Path, service: Service) -> None:
        self.package = package
        self.problem: str | None = None
        self._service = service
        self.thread = threading.Thread(target=self._run, name="pi10-prepare", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            # its sessions have no threads, which would stay slow
            if chosen_device(self._service.device, self.package).startswith("cpu"):
                yield_to_requests()
            _use_once(self.package, self._service)
        except Exception as error:  # whatever it is, the model in service goes on
            self.problem = str(error) or type(error).__name__


_PREPARED: list[_Preparation] = []


def prepare(folder: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Begin to load and warm a package in a thread, at the first call; True once it is ready.

    Raises ModelError if it cannot be used; the next call then tries again.
    """
    if not _PREPARED or _PREPARED[0].package != Path(folder):
        _PREPARED[:] = [_Preparation(Path(folder), Service.from_environ(environ))]
    job = _PREPARED[0]
    if job.thread.is_alive():
        return False
    if job.problem is not None:
        _PREPARED.clear()
        raise ModelError(job.problem)
    return True


def predict(environ: Mapping[str, str] = os.environ, **given: Any) -> Any:
    """Classify an upload. Returns a dict for JSON, bytes for all other content types.

    If the client made an error, the answer is a dict with ``error``, whatever the content type.
    The upload is removed in any case.
    """
    data = given.pop("data", None)
    answer = _predict(environ, _spooled(data), given)
    if isinstance(data, Spooled):
        return answer
    return _to_store(answer, str(given.get("accept") or writers.JSON))


def _to_store(answer: Any, accept: str) -> Any:
    """The answer for DEEPaaS's command line, which can store only JSON and BytesIO.

    Raises InputError if a file was asked for and the answer is an error: the command then fails,
    instead of storing JSON in a file of another type.
    """
    for kind, suffix in _SUFFIXES.items():  # DEEPaaS takes the file's suffix from here
        mimetypes.add_type(kind, suffix)
    if isinstance(answer, bytes):
        return io.BytesIO(answer)
    if accept not in (writers.JSON, "*/*"):
        raise InputError(Code(answer["error"]["code"]), answer["error"]["message"])
    return answer


def _predict(environ: Mapping[str, str], spooled: Spooled, given: Mapping[str, Any]) -> Any:
    try:
        service = Service.from_environ(environ)
        wanted = Wanted.of(given, service)
        files = UploadedFiles(spooled.files, service.limits)
        too_large = _too_large(files, service)
        return too_large or _answer(files, wanted, service, spooled.folder)
    except marshmallow.ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        option, reasons = next(iter(messages.items()))
        return refused(Code.BAD_SETTING.value, " ".join(map(str, reasons)), option)
    except Pi10Error as error:
        return refused(error.code.value, message_of(error))
    except OSError as error:
        problem = unstored(error)
        return refused(problem.code.value, problem.message)
    finally:
        shutil.rmtree(spooled.folder, ignore_errors=True)


def _spooled(data: Any) -> Spooled:
    """The upload in its own folder; DEEPaaS's command line passes one temporary file."""
    if isinstance(data, Spooled):
        return data
    folder = Path(tempfile.mkdtemp(prefix="pi10-request-"))
    if data is None:
        return Spooled(folder, ())
    path = folder / "0"
    shutil.move(data.filename, path)
    return Spooled(folder, (Upload(clean_name(data.original_filename or ""), path),))


def _too_large(files: UploadedFiles, service: Service) -> dict[str, Any] | None:
    if not files.files:
        return refused(Code.EMPTY_OBJECT.value, "no file was sent; send images or an archive")
    if len(files.files) > service.max_images:
        return refused(
            Code.TOO_LARGE.value,
            f"{len(files.files):,} files; the limit is {service.max_images:,} per request: "
            "split them over several requests",
        )
    if files.size > service.upload_bytes:
        return refused(
            Code.TOO_LARGE.value,
            f"{files.size:,} bytes; the limit is {service.upload_bytes:,} per request: "
            "split them over several requests",
        )
    return None


def _model(wanted: Wanted, service: Service) -> Model:
    model = _SHELF.load(model_store.folder_of(wanted.model, service), service.device)
    return model_store.with_thresholds(model, wanted.thresholds)


def _answer(files: UploadedFiles, wanted: Wanted, service: Service, scratch: Path) -> Any:
    model = _model(wanted, service)
    if wanted.accept in (writers.HTML, writers.ZIP):
        return _from_run(files, model, wanted, service, scratch)
    pictures = SHEET_IMAGES if wanted.accept == writers.PNG else 0
    with stage("classify"):
        outcome = _outcome(files, model, wanted, service, pictures)
    note(outcome.totals, Counter(failure.code for failure in outcome.failures))
    if wanted.accept == writers.JSON or not outcome.rows:
        return writers.as_json(outcome, wanted.top_k, wanted.options())
    if wanted.accept == writers.CSV:
        return writers.as_csv(model.package, outcome.cells())
    if wanted.accept == writers.PARQUET:
        return writers.as_parquet(model.package, outcome.cells())
    return contact_sheet(outcome.pictures, len(outcome.rows))


def default_model() -> Model:
    """The model for requests that name none; loaded once per process."""
    service = Service.from_environ()
    return _SHELF.load(FOLLOWER.folder(service), service.device)


def _outcome(
    files: UploadedFiles, model: Model, wanted: Wanted, service: Service, pictures: int = 0
) -> PredictionResult:
    try:
        return _classified(raise_on_repeat(files.items()), model, wanted, service, pictures)
    except RepeatedFile:
        return _classified(keep_last_copies(files.items), model, wanted, service, pictures)


def _classified(
    items: Iterator[Item], model: Model, wanted: Wanted, service: Service, pictures: int = 0
) -> PredictionResult:
    engine = Engine(
        model,
        batch=wanted.batch,
        measuring=wanted.measure,
        um_per_px=wanted.um_per_px,
        caps=service.caps,
    )
    threads = model.runtime.threads(service.jobs)
    return classify_items(items, engine, model.package, threads, pictures)


def _from_run(
    files: UploadedFiles, model: Model, wanted: Wanted, service: Service, scratch: Path
) -> Any:
    """The report, or all files, of a run, as ``pi10 classify`` writes them."""
    from pi10_classifier.report.page import write_report

    out = scratch / "run"
    settings = Settings(
        model=model.package.folder,
        jobs=service.jobs,
        batch=wanted.batch,
        measure=wanted.measure,
        um_per_px=wanted.um_per_px,
        device=service.device,
        caps=service.caps,
        limits=service.limits,
    )
    names = [file.name for file in files.files]
    with stage("classify"):
        run = classify_units(iter([files]), names, out, settings, model)
    note(run.tally.totals, run.tally.failures_by_code, run.tally.drift)
    if not run.tally.totals["results"]:  # there is nothing to report: answer why, as JSON
        outcome = _outcome(files, model, wanted, service)
        return writers.as_json(outcome, wanted.top_k, wanted.options())
    page = write_report(out, model.package.folder)
    if wanted.accept == writers.HTML:
        return page.read_bytes()
    first = islice(files.items(), 2 * SHEET_IMAGES)
    pictures = _classified(first, model, wanted, service, SHEET_IMAGES).pictures
    return writers.as_zip(
        out,
        {
            "predictions.csv": writers.table_as_csv(out),
            "contact_sheet.png": contact_sheet(pictures, run.tally.totals["results"]),
        },
    )
