"""Middleware around DEEPaaS's routes: size limits, and the progress of trainings.

DEEPaaS tells of a training that it is running, and no more until it ends. Here its answers
get a field ``training``, and a training that cannot begin is an error at once.
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
from pi10_classifier.api.server import header_timeout
from pi10_classifier.api.settings import Service
from pi10_classifier.api.trainings.jobs import BusyError, NotTrainableError, Training
from pi10_classifier.errors import OutputError, Pi10Error

BEGIN_S = 60.0
BUSY_RETRY_S = 60
KEPT = 200  # trainings whose progress is told by DEEPaaS's own id
_JSON = "application/json"
_DOCS = "swagger.docs"  # as aiohttp_apispec names its page
_STATUS = {"cancelled": "cancelled", "failed": "error"}
_TRAIN = re.compile(r"/v2/models/[^/]+/train/(?P<uuid>[0-9a-f]{32})?/?$")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class _Beginning:
    """What comes of a request to train, told by ``started`` in another task."""

    known: asyncio.Event = field(default_factory=asyncio.Event)
    result: Training | Pi10Error | None = None


_CURRENT: ContextVar[_Beginning | None] = ContextVar("pi10_beginning", default=None)
_BY_UUID: dict[str, Training] = {}


def started(result: Training | Pi10Error) -> None:
    """Tell the request at hand that its training began, or why not."""
    beginning = _CURRENT.get()
    if beginning:
        beginning.result = result
        beginning.known.set()


def attach(service: Service) -> None:
    """Put the gates before DEEPaaS's application, once, if that is what is being built."""
    api: Any = sys.modules.get("deepaas.api")
    app = getattr(api, "APP", None)
    if app is not None and not app.frozen and training_gate not in app.middlewares:
        gates = (docs_gate, size_gate(service.upload_bytes), upload_gate, training_gate)
        app.middlewares.extend(gates)
        header_timeout.install(service.max_header_seconds)


def error_body(code: str, message: str) -> dict[str, Any]:
    """The body of an error, as every route tells it."""
    text = json.dumps({"error": {"code": code, "message": message}})
    return {"text": text, "content_type": "application/json"}


def deliverable(output: Any) -> Any:
    """A prediction's output as DEEPaaS can send it.

    A wrong option is a 422 of its name and the reason, as those that DEEPaaS finds itself.
    Where there is nothing to tell but why not, that is the JSON answer with the status that the
    code of its error has. Only outside of a worker may this be raised.
    """
    wrong = output.get("error", {}) if isinstance(output, dict) else {}
    if "option" in wrong:
        named = {wrong["option"]: [wrong["message"]]}
        raise web.HTTPUnprocessableEntity(text=json.dumps(named), content_type=_JSON)
    if wrong:
        raise _Refused(status_of(wrong["code"]), json.dumps(output))
    return output


class _Refused(web.HTTPException):
    """An answer that is an error, of any status."""

    empty_body = False

    def __init__(self, status: int, text: str) -> None:
        self.status_code = status
        super().__init__(text=text, content_type=_JSON)


@web.middleware
async def docs_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """DEEPaaS describes its API at ``/api``; here at ``/api/`` too."""
    docs = request.app.router.named_resources().get(_DOCS)
    if docs is None or request.path != f"{docs.canonical}/":
        return await handler(request)
    described: web.StreamResponse = await next(iter(docs)).handler(request)
    return described


def size_gate(cap: int) -> Any:
    """Refuse what is larger than ``cap`` bytes, or does not say, before its body is read."""

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and request.body_exists:
            coding = request.headers.get("Content-Encoding", "identity").lower()
            if coding != "identity":  # its length says nothing of what it becomes
                message = f"Content-Encoding {coding[:40]!r} is not accepted; send plain files"
                raise web.HTTPUnsupportedMediaType(**error_body("encoded", message))
            length = request.content_length
            if length is None:
                message = "the request has no Content-Length; send one"
                raise web.HTTPLengthRequired(**error_body("no_length", message))
            if length > cap:
                message = f"{length:,} bytes; the limit is {cap:,}: send several requests"
                raise web.HTTPRequestEntityTooLarge(
                    max_size=cap, actual_size=length, **error_body("too_large", message)
                )
        return await handler(request)

    return gate


@web.middleware
async def upload_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Remove what was uploaded once it is answered, however that went."""
    try:
        return await handler(request)
    finally:
        for received in request.get(RECEIVED, ()):
            received.discard()


@web.middleware
async def training_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell more of trainings than DEEPaaS does."""
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
            now = entry["training"] = training.told()
            # to DEEPaaS whatever came to an end is done
            entry["status"] = _STATUS.get(now["status"], entry["status"])
    return web.json_response(entries)


def _text(response: web.StreamResponse) -> str:
    return (response.text if isinstance(response, web.Response) else None) or "{}"
