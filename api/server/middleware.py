"""Middleware for every request: request id, log line, metrics, admission, errors as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from pi10_classifier.api.client_errors import is_full, message_of, status_of, unstored
from pi10_classifier.api.request_stats import CURRENT, RequestStats, request_id
from pi10_classifier.api.server.admission import AdmissionLimit, Full
from pi10_classifier.api.server.metrics import Metrics
from pi10_classifier.api.server.workers import TookTooLong, WorkerDied
from pi10_classifier.errors import ModelError, OutputError, Pi10Error

LOG = logging.getLogger("pi10.requests")

ID_HEADER = "X-Request-ID"
CLIENT_LEFT = 499  # nginx's code for a closed connection; only logged, never sent
UNMATCHED = "unmatched"
_DEFECT = "a defect of this service; report it with the request_id"
# requested all the time: successes are logged at level debug
_QUIET = (
    "/health/live",
    "/health/ready",
    "/metrics",
    "/runs/{id}",
    "/pictures/{number}",
    "/pictures/{order}",
)


def failure(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    """The error answer of every route: a code, what was wrong, and the request's id."""
    stats = CURRENT.get()
    if stats:
        stats.error = code
    body = {
        "error": {"code": code, "message": message},
        "request_id": stats.request_id if stats else "",
    }
    return web.json_response(body, status=status, headers=headers)


def observe(metrics: Metrics) -> Middleware:
    """The outermost middleware: it logs and counts every answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        stats = RequestStats(request_id(request.headers.get(ID_HEADER)))
        token = CURRENT.set(stats)
        status = CLIENT_LEFT
        try:
            response = await _answered(request, handler)
            status = response.status
            if not response.prepared:
                response.headers[ID_HEADER] = stats.request_id
                response.headers.setdefault("X-Content-Type-Options", "nosniff")
            return response
        finally:
            route = _route(request)
            metrics.request(request.method, route, status, stats)
            _log(request, route, status, stats)
            CURRENT.reset(token)

    return middleware


def admission(admissions: AdmissionLimit, posts: Collection[str]) -> Middleware:
    """Refuse a POST to one of ``posts`` before its body is read, if the service is full."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "POST" or request.path not in posts:
            return await handler(request)
        with admissions.pass_through():
            response = await handler(request)
        stats = CURRENT.get()
        if stats and "work" in stats.stages:
            admissions.took(stats.stages["work"])
        return response

    return middleware


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or what its exception means to a client."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            location = {k: v for k, v in error.headers.items() if k == "Location"}
            return web.Response(status=error.status, headers=location)
        if error.content_type == "application/json":
            return _as_response(error)
        return failure(error.status, _code_of(error), _text_of(error, request), _kept(error))
    except Full as error:
        retry = {"Retry-After": str(error.retry_after)}
        return failure(503, error.code, error.message, retry)
    except TookTooLong as error:
        return failure(504, "took_too_long", str(error))
    except WorkerDied as error:
        LOG.error("request given up", extra={"reason": str(error)})
        return failure(500, "worker_died", f"{error}; send fewer files, or report it")
    except (ModelError, OutputError) as error:
        LOG.error("request failed", extra={"code": error.code.value, "reason": error.message})
        retry = {"Retry-After": "30"}
        return failure(status_of(error.code), error.code.value, message_of(error), retry)
    except Pi10Error as error:
        return failure(422, error.code.value, message_of(error))
    except (asyncio.CancelledError, ConnectionError):
        raise
    except OSError as error:
        if not is_full(error):
            LOG.exception("request failed")
            return failure(500, "internal", _DEFECT)
        problem = unstored(error)
        LOG.error("request failed", extra={"code": problem.code.value, "reason": str(error)})
        return failure(507, problem.code.value, problem.message, {"Retry-After": "30"})
    except Exception:
        LOG.exception("request failed")
        return failure(500, "internal", _DEFECT)


def _as_response(error: web.HTTPException) -> web.Response:
    stats = CURRENT.get()
    if stats:
        stats.error = _body_code(error)
    return web.Response(
        body=error.body, status=error.status, content_type="application/json",
        headers=_kept(error),
    )  # fmt: skip


def _body_code(error: web.HTTPException) -> str:
    """The code in the error's body, else the code for its status."""
    try:
        return str(json.loads(error.text or "")["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return _code_of(error)


def _kept(error: web.HTTPException) -> dict[str, str]:
    return {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}


def _code_of(error: web.HTTPException) -> str:
    known = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 422: "bad_setting"}
    return known.get(error.status, f"http_{error.status}")


def _text_of(error: web.HTTPException, request: web.Request) -> str:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return f"{error.text}; send fewer images per request, or raise the limit"
    if error.text == f"404: {error.reason}":  # aiohttp's own: no route
        return f"there is no route {request.path!r}; swagger.json describes the API"
    return error.text or error.reason


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else UNMATCHED


def _log(request: web.Request, route: str, status: int, stats: RequestStats) -> None:
    # no query, no headers, and of a known route no path: they may hold secrets, such as the id
    # that opens a run's results
    fields: dict[str, Any] = {
        "method": request.method,
        "route": route,
        "status": status,
        "seconds": round(stats.seconds, 4),
        "bytes_in": request.content_length,
    }
    if stats.error:
        fields["error"] = stats.error
    if stats.totals:
        fields["totals"] = dict(stats.totals)
    if stats.failures:
        fields["failures"] = dict(stats.failures)
    if stats.stages:
        fields["stages"] = {name: round(value, 4) for name, value in stats.stages.items()}
    if route == UNMATCHED:
        fields["path"] = request.path[:300]
    level = logging.DEBUG if route.endswith(_QUIET) and status < 400 else logging.INFO
    LOG.log(level, "request", extra=fields)
