"""Labelling in `pi10 serve`: a sample of a run of the page is drawn, labelled, and corrects it.

Workers draw, read pictures and estimate; this process stores labels and tells them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

from aiohttp import web

from pi10_classifier.api.request_stats import CURRENT, RequestStats
from pi10_classifier.api.server.admission import AdmissionLimit
from pi10_classifier.api.server.task import Answer, work
from pi10_classifier.api.server.workers import BULK_BYTES, Workers
from pi10_classifier.api.settings import Service
from pi10_classifier.api.webpage import label_worker
from pi10_classifier.api.webpage.labelling import LARGEST_REQUEST, LabelPage, Rows
from pi10_classifier.api.webpage.policy import FOREIGN
from pi10_classifier.api.webpage.run_errors import told
from pi10_classifier.api.webpage.runs import Job, PageRun, Runs
from pi10_classifier.api.webpage.worker import Cancelled
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.session import Session
from pi10_classifier.taxonomy.table import TaxonTable

LOG = logging.getLogger("pi10.page")
MOST_DRAWN = 5000


class ServedLabelling:
    """The routes below ``ui/runs/{id}`` that draw a sample, label it and correct by it.

    The size of the sample is part of the page's address: orders of particles, and what a browser
    keeps of them, are of one drawing alone.
    """

    def __init__(
        self, runs: Runs, workers: Workers, admissions: AdmissionLimit, service: Service
    ) -> None:
        self._runs = runs
        self._workers = workers
        self._admissions = admissions
        self._service = service
        self._estimating: dict[str, asyncio.Lock] = {}

    def add_to(self, app: web.Application, base: str) -> None:
        app.router.add_post(f"{base}/ui/runs/{{id}}/label", self._draw)
        app.router.add_post(f"{base}/ui/runs/{{id}}/correct", self._correct)
        page = LabelPage(self, taxa=TaxonTable.load())
        page.add_to(app, f"{base}/ui/runs/{{id}}/label/{{size:[0-9]{{1,9}}}}")

    # ---- work on a run

    async def _draw(self, request: web.Request) -> web.Response:
        run = self._of(request)
        size = await _size_of(request)
        if run.session and size <= run.session.design.size:  # labels hold for a larger sample alone
            run.job = run.job if run.job and not run.job.over else None
            return web.json_response(run.status())
        kwargs = {"folder": str(run.folder), "uploads": tuple(run.uploads), "size": size}
        return self._start(run, "draw", label_worker.draw_sample, kwargs)

    async def _correct(self, request: web.Request) -> web.Response:
        run = self._of(request)
        if run.session is None:
            raise SettingError("no sample of these results is drawn; draw and label one first")
        kwargs = {"folder": str(run.folder)}
        return self._start(run, "correct", label_worker.correct, kwargs)

    def _start(
        self, run: PageRun, kind: Literal["draw", "correct"], function: Callable[..., Any],
        kwargs: Mapping[str, Any],
    ) -> web.Response:  # fmt: skip
        """Begin a job, or join the one of this kind that another browser began."""
        if run.job and not run.job.over:
            if run.job.kind == kind:
                return web.json_response(run.status(), status=202)
            raise web.HTTPConflict(text="another window works on these results; wait a moment")
        stats = CURRENT.get() or RequestStats("")
        with ExitStack() as place:
            place.enter_context(self._admissions.pass_through())
            run.job = Job(kind)
            (run.folder / label_worker.JOB).unlink(missing_ok=True)  # of the job before
            work_on = self._work(run, run.job, function, kwargs, stats.request_id, place.pop_all())
            run.job.task = asyncio.get_running_loop().create_task(work_on)
        return web.json_response(run.status(), status=202)

    async def _work(
        self, run: PageRun, job: Job, function: Callable[..., Any], kwargs: Mapping[str, Any],
        request_id: str, place: ExitStack,
    ) -> None:  # fmt: skip
        stats = RequestStats(request_id)
        CURRENT.set(stats)  # of this task alone
        try:
            with place:
                answer: Answer = await self._workers.apply(
                    work, request_id, function, kwargs,
                    seconds=self._service.max_seconds, bulk=run.bytes > BULK_BYTES,
                )  # fmt: skip
            if job.kind == "draw":
                run.session = answer.output
            else:
                job.result, run.page = answer.output, None
            job.state = "done"
        except (Cancelled, asyncio.CancelledError):
            job.state = "failed"
            job.error = {"code": "cancelled", "message": "the work was stopped; start it again"}
        except Exception as error:
            job.state = "failed"
            if not run.dropped:  # else its files went meanwhile
                job.error = told(error, "draw a smaller sample, or report it")
        finally:
            if job.state == "failed" and run.session and run.session.outdated:
                run.session = None  # half drawn: to be drawn again; labels stay
            if run.dropped:
                self._runs.remove_files(run)  # what was written since
            LOG.info("page job over", extra={
                "kind": job.kind, "state": job.state, "seconds": round(stats.seconds, 3),
            })  # fmt: skip

    def _of(self, request: web.Request) -> PageRun:
        if request.method != "GET" and request.headers.get("Sec-Fetch-Site") in FOREIGN:
            raise web.HTTPForbidden(text="only this service's page may ask this")
        return self._runs.get_done(request.match_info["id"])

    # ---- what the labelling page asks for

    def session(self, request: web.Request) -> Session:
        run = self._of(request)
        if run.job and run.job.kind == "draw" and not run.job.over:
            raise web.HTTPConflict(text="the sample is being drawn; reload the page in a moment")
        if run.session is None:
            raise web.HTTPConflict(text="no sample is drawn; draw one on the page of the results")
        if run.session.design.size != int(request.match_info["size"]):
            raise web.HTTPConflict(
                text="a larger sample was drawn meanwhile, and every label is kept; go on from "
                "the page of the results"
            )
        return run.session

    def about(self, request: web.Request) -> dict[str, Any]:
        run_id = request.match_info["id"]
        run = self._runs.get_done(run_id)
        return {
            "run": run.title,
            "served": {
                "results": f"../../../../#{run_id}",
                "status": f"../../../{run_id}",
                "correct": "../../correct",
                "files": "../../files/",
            },
        }

    async def density(self, session: Session, labeller: str, stratum: str) -> Rows:
        rows: Rows = await self._estimate(label_worker.densities, session, labeller, stratum)
        return rows

    async def history(self, session: Session, labeller: str, stratum: str) -> list[Rows]:
        steps: list[Rows] = await self._estimate(label_worker.history, session, labeller, stratum)
        return steps

    async def _estimate(
        self, function: Callable[..., Any], session: Session, labeller: str, stratum: str
    ) -> Any:
        """In a worker, of one run one at a time, so that no run fills the queue."""
        stats = CURRENT.get() or RequestStats("")
        key = str(session.run)
        lock = self._estimating.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                with self._admissions.pass_through():
                    answer: Answer = await self._workers.apply(
                        work, stats.request_id, function,
                        {"session": session, "labeller": labeller, "stratum": stratum},
                        seconds=self._service.max_seconds,
                    )  # fmt: skip
        finally:
            if not lock.locked():
                self._estimating.pop(key, None)
        return answer.output


async def _size_of(request: web.Request) -> int:
    """The size of the sample that a request asks for. Raises HTTPException, SettingError."""
    if request.content_type != "application/json":  # which a form of another site cannot send
        raise web.HTTPUnsupportedMediaType(text="send JSON")
    try:
        size = (await request.clone(client_max_size=LARGEST_REQUEST).json())["size"]
    except (ValueError, LookupError, TypeError) as error:
        raise SettingError(f"the request cannot be read ({error}); reload the page") from error
    if type(size) is not int or not 1 <= size <= MOST_DRAWN:
        raise SettingError(
            f"the sample is to have {str(size)[:40]} particles; give a whole number from 1 to "
            f"{MOST_DRAWN:,}"
        )
    return size
