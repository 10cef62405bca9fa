"""The page's routes: its files, and what they ask for as JSON."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiohttp import web

import pi10_classifier
from pi10_classifier.errors import OutputError
from pi10_classifier.shore.webpage import coast, daily
from pi10_classifier.shore.webpage.views import RequestError, Views

LOG = logging.getLogger("pi10.shore")
_FILES = {
    "": ("index.html", "text/html"),
    "shore.css": ("shore.css", "text/css"),
    "shore.js": ("shore.js", "text/javascript"),
    "charts.js": ("charts.js", "text/javascript"),
}
_LIVE = {"Cache-Control": "no-store"}
CHARTS = "plotly.js"
NO_SPECTRUM = "Pi10-No-Spectrum"  # the header that says why a spectrum is empty


def has_charts() -> bool:
    """Whether plotly, which carries the chart library, is installed."""
    return find_spec("plotly") is not None


@lru_cache(maxsize=1)
def _charts() -> tuple[bytes, str] | None:
    """plotly.js, compressed, and the version of its package; None where it is not installed."""
    if not has_charts():
        return None
    path = resources.files("plotly") / "package_data" / "plotly.min.js"
    return gzip.compress(path.read_bytes(), 6, mtime=0), metadata.version("plotly")


class Page:
    """The routes for GET below a base path."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def add_to(self, app: web.Application, base: str) -> None:
        router = app.router
        for name in _FILES:
            router.add_get(f"{base}/{name}", self._file)
        if base:
            # relative, so that it works behind a proxy that strips a prefix
            router.add_get(base, self._front_door)
        router.add_get(f"{base}/{CHARTS}", self._chart_library)
        router.add_get(f"{base}/api/voyages", self._overview)
        router.add_get(f"{base}/api/voyages/{{name}}/series", self._series)
        router.add_get(f"{base}/api/voyages/{{name}}/spectrum", self._spectrum)
        router.add_get(f"{base}/api/voyages/{{name}}/pictures", self._pictures)
        router.add_get(f"{base}/pictures/{{number}}.jpg", self._picture)
        router.add_get(f"{base}/api/coast", self._coast)
        router.add_get(f"{base}/days/{{date}}", self._day)

    @staticmethod
    async def _front_door(request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        return web.Response(status=302, headers={"Location": f"{name}/"})

    @staticmethod
    async def _file(request: web.Request) -> web.Response:
        name, kind = _FILES[request.path.rpartition("/")[2]]
        path = resources.files("pi10_classifier.shore.webpage") / "static" / name
        headers = {"Cache-Control": "no-cache"}
        return web.Response(text=path.read_text("utf-8"), content_type=kind, headers=headers)

    @staticmethod
    async def _chart_library(request: web.Request) -> web.Response:
        found = await asyncio.to_thread(_charts)
        if found is None:
            raise web.HTTPNotFound(text="plotly is not installed; install the extra [shore]")
        data, version = found
        headers = {"Cache-Control": "max-age=86400", "ETag": f'"plotly-{version}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            data = gzip.decompress(data)
        return web.Response(body=data, content_type="text/javascript", headers=headers)

    async def _overview(self, request: web.Request) -> web.Response:
        overview = await _answered(self._views.overview)
        about = {"version": pi10_classifier.__version__, "charts": has_charts()}
        return web.json_response(overview | about, headers=_LIVE)

    async def _series(self, request: web.Request) -> web.Response:
        name, query = request.match_info["name"], request.query
        values = [query.get(word, "") for word in ("from", "to", "step")]
        series = await _answered(lambda: self._views.series(name, *values))
        response = web.json_response(series, headers=_LIVE)
        response.enable_compression()
        return response

    async def _spectrum(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        rows, why = await _answered(lambda: self._views.spectrum(name))
        # the body stays a list, as clients know it
        headers = _LIVE if rows else {**_LIVE, NO_SPECTRUM: why}
        return web.json_response(rows, headers=headers)

    async def _pictures(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        pictures = await _answered(lambda: self._views.pictures(name))
        return web.json_response(pictures, headers=_LIVE)

    async def _picture(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        data = await _answered(lambda: self._views.picture(number))
        if data is None:
            raise web.HTTPNotFound(text="there is no such picture, or no more")
        headers = {"Cache-Control": "max-age=86400"}
        return web.Response(body=data, content_type="image/jpeg", headers=headers)

    async def _coast(self, request: web.Request) -> web.Response:
        try:
            west, south, east, north = (
                float(request.query[side]) for side in ("west", "south", "east", "north")
            )
            across = -180 <= west < east <= 540 and east - west <= 360
            if not (across and -90 <= south < north <= 90):
                raise ValueError
        except (KeyError, ValueError):
            raise web.HTTPBadRequest(text="west, south, east and north must be degrees") from None
        box = (math.floor(west), math.floor(south), math.ceil(east), math.ceil(north))
        outlines = await asyncio.to_thread(coast.outlines, *box)
        headers = {"Cache-Control": "max-age=86400"}
        response = web.json_response({"box": box, "outlines": outlines}, headers=headers)
        response.enable_compression()
        return response

    async def _day(self, request: web.Request) -> web.Response:
        path = Path(request.match_info["date"])
        day = await _answered(lambda: self._views.day(path.stem))
        if path.suffix == ".json":
            return web.json_response(day, headers=_LIVE)
        if path.suffix == ".csv":
            name = f'attachment; filename="pi10-{day["date"]}.csv"'
            headers = {**_LIVE, "Content-Disposition": name}
            return web.Response(text=daily.as_csv(day), content_type="text/csv", headers=headers)
        if path.suffix not in ("", ".html"):
            raise web.HTTPNotFound(text="a day has .html, .json and .csv")
        return web.Response(text=daily.as_page(day), content_type="text/html", headers=_LIVE)


async def _answered(ask: Callable[[], Any]) -> Any:
    """What ``ask`` returns, from another thread.

    A RequestError becomes 400, an OutputError of the store 503.
    """
    try:
        return await asyncio.to_thread(ask)
    except RequestError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    except OutputError as error:
        LOG.error("the store cannot be read: %s", error.message)
        raise web.HTTPServiceUnavailable(text="the receiver's store cannot be read") from error
