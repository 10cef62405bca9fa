"""The sorting page's routes: its files, what is asked now, the answers, the pictures."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from importlib import resources
from typing import Any

from aiohttp import web

import pi10_classifier
from pi10_classifier.api.webpage.labelling import (
    LARGEST_REQUEST,
    Taxa,
    as_json,
    failure,
    keys_of,
    taxa_named,
)
from pi10_classifier.api.webpage.policy import PAGE_HEADERS
from pi10_classifier.embedding.sort_session import SortedMeanwhileError, SortSession, View
from pi10_classifier.errors import SettingError
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.labelling.labels import MEANINGS

FILES = {
    "": ("sort.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "label.css": ("label.css", "text/css"),
    "sort.css": ("sort.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    **{name: (name, "text/javascript") for name in ("naming.js", "sort.js")},
}


class SortPage:
    """The routes of sorting one run."""

    def __init__(self, session: SortSession, taxa: Taxa | None = None) -> None:
        self._session = session
        self._taxa = taxa

    def add_to(self, app: web.Application, base: str) -> None:
        for name in FILES:
            app.router.add_get(f"{base}/{name}", self._file)
        app.router.add_get(f"{base}/about", self._about)
        app.router.add_get(f"{base}/view", self._view)
        app.router.add_post(f"{base}/answer", self._answer)
        app.router.add_get(f"{base}/pictures/{{row:[0-9]{{1,9}}}}", self._picture)
        app.router.add_get(f"{base}/taxa", self._search)

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path.rpartition("/")[2]]
        text = (resources.files("pi10_classifier.api.webpage") / "static" / name).read_text("utf-8")
        return web.Response(text=text, content_type=kind, headers=PAGE_HEADERS)

    async def _about(self, request: web.Request) -> web.Response:
        session = self._session
        allowed = session.store.allowed
        keys = keys_of(allowed)
        return as_json({
            "version": pi10_classifier.__version__,
            "run": str(session.run),
            "labeller": session.labeller,
            "labels": [
                {"name": name, "key": keys[name], "meaning": MEANINGS.get(name, "")}
                for name in allowed
            ],
            "particles": len(session.particles.places),
            "particles_all": session.particles.all,
            "without_picture": len(session.problems),
            "um_per_px": UM_PER_PX,
            "taxa": self._taxa is not None,
        })  # fmt: skip

    async def _view(self, request: web.Request) -> web.Response:
        return as_json(_told(await asyncio.to_thread(self._session.view)))

    async def _answer(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # a form on another site cannot send JSON
            return failure(
                415, "bad_setting", f"{request.content_type!r} is not accepted; send JSON"
            )
        try:
            given = await request.clone(client_max_size=LARGEST_REQUEST).json()
            kind, step = given["kind"], given["step"]
            if not isinstance(kind, str) or not isinstance(step, int) or isinstance(step, bool):
                raise TypeError("kind or step")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise SettingError(f"the request cannot be read ({error}); reload the page") from error
        try:
            view = await asyncio.to_thread(self._session.answer, kind, step, given)
        except SortedMeanwhileError as error:
            return failure(409, "changed_meanwhile", error.message)
        return as_json(_told(view))  # the answer is on the disk

    async def _picture(self, request: web.Request) -> web.Response:
        session, row = self._session, int(request.match_info["row"])
        data = None
        if row < len(session.particles.places):
            data = await asyncio.to_thread(session.pictures.read, session.particles.places[row])
        if data is None:
            return failure(404, "no_picture", "this particle has no picture")
        return web.Response(body=data, content_type="image/png", headers={
            "Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff",
        })  # fmt: skip

    async def _search(self, request: web.Request) -> web.Response:
        return await taxa_named(self._taxa, request)


def _told(view: View) -> dict[str, Any]:
    return asdict(view)
