"""The web page's routes: its files, and requests to start, follow and show runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

import pi10_classifier
from pi10_classifier.api.deepaas.request_parsing import patience
from pi10_classifier.api.request_stats import CURRENT, RequestStats
from pi10_classifier.api.server.admission import AdmissionLimit
from pi10_classifier.api.server.metrics import Metrics
from pi10_classifier.api.server.middleware import failure
from pi10_classifier.api.server.task import Answer, work
from pi10_classifier.api.server.workers import BULK_BYTES, Workers
from pi10_classifier.api.settings import Service
from pi10_classifier.api.webpage.policy import FOREIGN, PAGE_HEADERS
from pi10_classifier.api.webpage.run_errors import told
from pi10_classifier.api.webpage.runs import PageRun, Runs, receive
from pi10_classifier.api.webpage.served_labelling import ServedLabelling
from pi10_classifier.api.webpage.worker import DOWNLOADS, PICTURES, SHOWN, Cancelled, run_page
from pi10_classifier.model.package import Package

LOG = logging.getLogger("pi10.page")

FILES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
# the report holds its own styles and pictures, and no script
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox allow-popups; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Page:
    """The routes below ``ui/``."""

    def __init__(
        self, workers: Workers, admissions: AdmissionLimit, metrics: Metrics, package: Package,
        folder: Path, service: Service,
    ) -> None:  # fmt: skip
        self._workers = workers
        self._admissions = admissions
        self._metrics = metrics
        self._package = package
        self._service = service
        self._runs = Runs(folder / "runs")
        self._labelling = ServedLabelling(self._runs, workers, admissions, service)
        self._sweeper: asyncio.Task[None] | None = None

    def add_to(self, app: web.Application, base: str) -> None:
        router = app.router
        for name in FILES:
            router.add_get(f"{base}/ui/{name}", self._file)
        router.add_get(f"{base}/ui/about", self._about)
        router.add_post(f"{base}/ui/runs", self._start)
        router.add_get(f"{base}/ui/runs/{{id}}", self._status)
        router.add_delete(f"{base}/ui/runs/{{id}}", self._drop)
        router.add_get(f"{base}/ui/runs/{{id}}/page", self._page)
        router.add_get(f"{base}/ui/runs/{{id}}/pictures/{{number:[0-9]{{1,6}}}}", self._picture)
        router.add_get(f"{base}/ui/runs/{{id}}/files/{{name}}", self._download)
        self._labelling.add_to(app, base)
        self._sweeper = asyncio.ensure_future(self._runs.sweep())

    @staticmethod
    def front_door(base: str) -> Middleware:
        """Redirect browsers to the page; programs get DEEPaaS's own answer at the root.

        The redirects are relative, so that they work behind a proxy that strips a prefix.
        """
        last = base.rpartition("/")[2]
        targets = {f"{base}/ui": "ui/", f"{base}/": "ui/",
                   "/": f"{base.lstrip('/')}/ui/".lstrip("/")}  # fmt: skip
        if base:
            targets[base] = f"{last}/ui/"

        @web.middleware
        async def middleware(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            target = targets.get(request.path) if request.method == "GET" else None
            if target and (
                request.path.endswith("/ui") or "text/html" in request.headers.get("Accept", "")
            ):
                return web.Response(status=302, headers={"Location": target, "Vary": "Accept"})
            if base and request.path == f"{base}/":  # DEEPaaS has no route for it
                return web.Response(status=302, headers={"Location": f"../{last}"})
            return await handler(request)

        return middleware

    async def close(self) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        self._runs.close()

    def model(self, package: Package) -> None:
        """Tell another model from now on."""
        self._package = package

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path.rpartition("/")[2]]
        text = (resources.files("pi10_classifier.api.webpage") / "static" / name).read_text("utf-8")
        return web.Response(text=text, content_type=kind, headers=PAGE_HEADERS)

    async def _about(self, request: web.Request) -> web.Response:
        package = self._package
        return web.json_response({
            "version": pi10_classifier.__version__,
            "model": {"name": package.name, "version": package.version, "sha256": package.sha256},
            "classes": list(package.classes),
            "never_seen": str(package.description.get("never_seen", "")),
            "max_bytes": self._service.upload_bytes,
            "shown": SHOWN,
        })  # fmt: skip

    async def _start(self, request: web.Request) -> web.Response:
        if request.headers.get("Sec-Fetch-Site") in FOREIGN:  # another site's form
            return failure(
                403, "foreign_page", "uploads are accepted from this service's page only"
            )
        stats = CURRENT.get() or RequestStats("")
        with ExitStack() as place:
            place.enter_context(self._admissions.pass_through())
            run = self._runs.new()
            try:
                async with asyncio.timeout(patience(request)):
                    await receive(request, run, self._service)
            except TimeoutError:
                self._runs.drop(run)
                return failure(
                    408, "too_slow", "the files did not arrive in time; send fewer at once"
                )
            except BaseException:
                self._runs.drop(run)
                raise
            stats.add("receive", stats.seconds)
            # the work keeps the place, because it goes on long after this request
            work_on = self._work(run, stats.request_id, place.pop_all())
            run.task = asyncio.get_running_loop().create_task(work_on)
        return web.json_response(run.status(), status=201)

    async def _work(self, run: PageRun, request_id: str, place: ExitStack) -> None:
        stats = RequestStats(request_id)
        CURRENT.set(stats)  # for this task only
        try:
            with place:
                answer: Answer = await self._workers.apply(
                    work, request_id, run_page,
                    {"folder": str(run.folder), "uploads": tuple(run.uploads)},
                    seconds=self._service.max_seconds, bulk=run.bytes > BULK_BYTES,
                )  # fmt: skip
            stats.stages |= answer.stages
            stats.count(answer.totals, answer.failures, answer.drift)
            run.state = "done" if not run.over else run.state
        except (Cancelled, asyncio.CancelledError):
            run.state = "cancelled"
        except Exception as error:
            run.state, run.error = "failed", told(error)
        finally:
            self._metrics.work(stats)
            LOG.info("page run over", extra={
                "state": run.state, "files": len(run.uploads), "bytes": run.bytes,
                "totals": dict(stats.totals), "seconds": round(stats.seconds, 3),
            })  # fmt: skip

    async def _status(self, request: web.Request) -> web.Response:
        run = self._runs.get(request.match_info["id"])
        return web.json_response(run.status(), headers={"Cache-Control": "no-store"})

    async def _drop(self, request: web.Request) -> web.Response:
        self._runs.drop(self._runs.get(request.match_info["id"]))
        return web.Response(status=204)

    async def _page(self, request: web.Request) -> web.Response:
        run = self._runs.get_done(request.match_info["id"])
        page: dict[str, Any] = run.read_page()
        return web.json_response(page, headers={"Cache-Control": "no-store"})

    async def _picture(self, request: web.Request) -> web.Response:
        run = self._runs.get_done(request.match_info["id"])
        particles = run.read_page()["particles"]
        number = int(request.match_info["number"])
        place = particles[number]["picture"] if number < len(particles) else None
        if place is None:
            raise web.HTTPNotFound(text=f"there is no picture {number}")
        with (run.folder / PICTURES).open("rb") as stream:
            stream.seek(place[0])
            data = stream.read(place[1])
        headers = {"Cache-Control": "private, max-age=3600, immutable"}
        return web.Response(body=data, content_type="image/png", headers=headers)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        run = self._runs.get_done(request.match_info["id"])
        name = request.match_info["name"]
        if name not in DOWNLOADS:
            raise web.HTTPNotFound(
                text=f"there is no file of this name; the files are {', '.join(DOWNLOADS)}"
            )
        folder, kind = DOWNLOADS[name]
        path = run.folder / folder / name
        if not path.is_file():
            raise web.HTTPNotFound(
                text=f"there is no {name} yet; it comes with a sample, its labels or its estimate"
            )
        shown = name == "report.html"
        headers = {
            "Content-Type": kind,
            "Content-Disposition": "inline" if shown else f'attachment; filename="{name}"',
            "Content-Security-Policy": REPORT_POLICY,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return web.FileResponse(path, headers=headers)
