"""Middleware around DEEPaaS's routes: size limits, and the progress of trainings.

DEEPaaS says only that a training runs, until it ends. Here its answers get a field
``training`` with the progress, and a training that cannot begin is answered with an error at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from pi10_classifier.api.client_errors import message_of, status_of
from pi10_classifier.api.deepaas.request_parsing import RECEIVED
from pi10_classifier.api.settings import Service
from pi10_classifier.api.trainings.jobs import BusyError, NotTrainableError, Training
from pi10_classifier.errors import OutputError, Pi10Error
from pi10_classifier.foundation import header_timeout

BEGIN_S = 60.0
BUSY_RETRY_S = 60
KEPT = 200  # trainings whose progress can be asked for by DEEPaaS's own id
_JSON = "application/json"
_DOCS = "swagger.docs"  # aiohttp_apispec's name of its page
_STATUS = {"cancelled": "cancelled", "failed": "error"}
_TRAIN = re.compile(r"/v2/models/[^/]+/train/(?P<uuid>[0-9a-f]{32})?/?$")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class _Beginning:
    """The result of a request to train; ``started`` sets it in another task."""

    known: asyncio.Event = field(default_factory=asyncio.Event)
    result: Training | Pi10Error | None = None


_CURRENT: ContextVar[_Beginning | None] = ContextVar("pi10_beginning", default=None)
_BY_UUID: dict[str, Training] = {}


def started(result: Training | Pi10Error) -> None:
    """Tell the current request that its training began, or why it did not."""
    beginning = _CURRENT.get()
    if beginning:
        beginning.result = result
        beginning.known.set()


def attach(service: Service) -> None:
    """Add the gates to DEEPaaS's application once, if DEEPaaS is building it."""
    api: Any = sys.modules.get("deepaas.api")
    app = getattr(api, "APP", None)
    if app is not None and not app.frozen and training_gate not in app.middlewares:
        gates = (docs_gate, size_gate(service.upload_bytes), upload_gate, training_gate)
        app.middlewares.extend(gates)
        header_timeout.install(service.max_header_seconds)


def error_body(code: str, message: str) -> dict[str, Any]:
    """The body of an error, the same on every route."""
    text = json.dumps({"error": {"code": code, "message": message}})
    return {"text": text, "content_type": "application/json"}


def deliverable(output: Any) -> Any:
    """A prediction's output as DEEPaaS can send it.

    A wrong option raises a 422 with its name and the reason, in the form that DEEPaaS uses too.
    An output that is nothing but an error raises an answer in JSON, with the HTTP status of the
    error's code. Call this outside of the workers only: the exceptions cannot be pickled.
    """
    problem = output.get("error", {}) if isinstance(output, dict) else {}
    if "option" in problem:
        reasons = {problem["option"]: [problem["message"]]}
        raise web.HTTPUnprocessableEntity(text=json.dumps(reasons), content_type=_JSON)
    if problem:
        raise _Refused(status_of(problem["code"]), json.dumps(output))
    return output


class _Refused(web.HTTPException):
    """An error as an answer, with any status."""

    empty_body = False

    def __init__(self, status: int, text: str) -> None:
        self.status_code = status
        super().__init__(text=text, content_type=_JSON)


@web.middleware
async def docs_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Show DEEPaaS's description of the API at ``/api/`` too, not only at ``/api``."""
    docs = request.app.router.named_resources().get(_DOCS)
    if docs is None or request.path != f"{docs.canonical}/":
        return await handler(request)
    described: web.StreamResponse = await next(iter(docs)).handler(request)
    return described


def size_gate(cap: int) -> Any:
    """Refuse a body of more than ``cap`` bytes, or of unknown size, before it is read."""

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and request.body_exists:
            coding = request.headers.get("Content-Encoding", "identity").lower()
            if coding != "identity":  # the unpacked size is unknown
                message = f"Content-Encoding {coding[:40]!r} is not accepted; send plain files"
                raise web.HTTPUnsupportedMediaType(**error_body("encoded", message))
            length = request.content_length
            if length is None:
                message = "the request has no Content-Length; send one"
                raise web.HTTPLengthRequired(**error_body("no_length", message))
            if length > cap:
                message = f"{length:,} bytes; the limit is {cap:,}: split it over several requests"
                raise web.HTTPRequestEntityTooLarge(
                    max_size=cap, actual_size=length, **error_body("too_large", message)
                )
        return await handler(request)

    return gate


@web.middleware
async def upload_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Remove the uploaded files once the request is answered, with or without success."""
    try:
        return await handler(request)
    finally:
        for received in request.get(RECEIVED, ()):
            received.discard()


@web.middleware
async def training_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add a training's progress to DEEPaaS's answers."""
    match = _TRAIN.search(request.path)
    if match is None:
        return await handler(request)
    if request.method != "POST":
        return _with_progress(await handler(request))
    beginning = _Beginning()
    token = _CURRENT.set(beginning)
    try:
        response = await handler(request)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(beginning.known.wait(), BEGIN_S)
    finally:
        _CURRENT.reset(token)
    if isinstance(beginning.result, Pi10Error):
        raise _refusal(beginning.result)
    if isinstance(beginning.result, Training):
        _BY_UUID[json.loads(_text(response))["uuid"]] = beginning.result
        while len(_BY_UUID) > KEPT:
            del _BY_UUID[next(iter(_BY_UUID))]
    return _with_progress(response)


def _refusal(error: Pi10Error) -> web.HTTPException:
    body = error_body(error.code.value, message_of(error))
    if isinstance(error, BusyError):
        return web.HTTPServiceUnavailable(headers={"Retry-After": str(BUSY_RETRY_S)}, **body)
    if isinstance(error, NotTrainableError):
        return web.HTTPNotImplemented(**body)
    if isinstance(error, OutputError):
        return web.HTTPInsufficientStorage(**body)
    return web.HTTPUnprocessableEntity(**body)


def _with_progress(response: web.StreamResponse) -> web.StreamResponse:
    if response.status != web.HTTPOk.status_code:
        return response
    entries = json.loads(_text(response))
    for entry in entries if isinstance(entries, list) else [entries]:
        training = _BY_UUID.get(entry.get("uuid", ""))
        if training:
            progress = entry["training"] = training.to_dict()
            # DEEPaaS calls every training that ended "done"
            entry["status"] = _STATUS.get(progress["status"], entry["status"])
    return web.json_response(entries)


def _text(response: web.StreamResponse) -> str:
    return (response.text if isinstance(response, web.Response) else None) or "{}"
