"""Reads files and options from a request.

DEEPaaS parses all requests with one webargs parser. They share its cache while they wait for
their bodies, so one request may get another's form. The locations here read from the request
alone. They also accept several files under one name, and refuse text where a file is
expected: a path that a client names is never opened.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import traceback
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import marshmallow
from aiohttp import web
from aiohttp.client_exceptions import ClientPayloadError as PayloadError
from aiohttp.http_exceptions import HttpProcessingError
from webargs import aiohttpparser

from pi10_classifier.api.client_errors import unstored
from pi10_classifier.api.fields import FILES, OPTIONS
from pi10_classifier.api.predictions.uploads import Spooled, Upload, clean_name, given_name
from pi10_classifier.api.predictions.writers import ACCEPTED, CSV, JSON

MAX_JSON_BYTES = 2**20
PATIENCE_S, SLOWEST_BYTES_S = 20.0, 100_000.0
ALLOWED: dict[str, frozenset[str]] = {}  # verb -> its options; set when DEEPaaS asks for them
# not multipart, a broken part, an unknown charset or coding
MALFORMED = (ValueError, LookupError, RuntimeError, PayloadError, HttpProcessingError)
_PARSED, RECEIVED = "pi10.options", "pi10.received"


class Received(list[str]):
    """The files of one request, in a folder that is removed with the request.

    As JSON it is the list of the file names. A worker receives it as ``Spooled``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.folder = Path(tempfile.mkdtemp(prefix="pi10-request-"))
        # a safety net: the gate normally discards the folder when the request ends
        self.discard = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.files = tuple(Upload(name, self.folder / str(n)) for n, name in enumerate(names))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.path.stat().st_size for file in self.files)

    def copy_from(self, parts: Sequence[web.FileField]) -> None:
        """Copy the bytes from aiohttp's unnamed files. Raises OSError."""
        for file, part in zip(self.files, parts, strict=True):
            with file.path.open("xb") as target, part.file as source:
                source.seek(0)
                shutil.copyfileobj(source, target, 2**20)

    def __reduce__(self) -> tuple[Any, ...]:
        return Spooled, (self.folder, self.files)


@aiohttpparser.parser.location_handler(FILES)  # type: ignore[untyped-decorator]
async def files(request: web.Request, name: str, field: marshmallow.fields.Field) -> Any:
    """The files sent under ``name``. Raises ValidationError (422) if text was sent instead."""
    parts = (await _form(request)).getall(name, [])
    if not parts:
        return marshmallow.missing
    if not all(isinstance(part, web.FileField) for part in parts):
        raise marshmallow.ValidationError({name: ["Not a file; send a file with a file name."]})
    try:
        received = Received([clean_name(filename_of(part)) for part in parts])
        request.setdefault(RECEIVED, []).append(received)
        # aiohttp closes its own files with the answer, but a training still needs them then
        await asyncio.to_thread(received.copy_from, parts)
    except OSError as error:
        raise _not_stored(error) from error
    return received


def filename_of(part: web.FileField) -> str:
    """The name as the client wrote it."""
    return given_name(part.headers.get("Content-Disposition", ""), part.filename)


def _not_stored(error: OSError) -> web.HTTPException:
    traceback.clear_frames(error.__traceback__)  # frees the files, and so the disk space
    problem = unstored(error)
    text = _error(problem.code.value, problem.message)
    return web.HTTPInsufficientStorage(text=text, content_type="application/json")


def _error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})


@aiohttpparser.parser.location_handler(OPTIONS)  # type: ignore[untyped-decorator]
async def option(request: web.Request, name: str, field: marshmallow.fields.Field) -> Any:
    """An option from the query, the form or a JSON body, in this order."""
    if _PARSED not in request:
        parts = (request.query, await _form(request), await _json(request))
        _refuse_unknown(request.path, {key for part in parts for key in part})
        _refuse_ambiguous(request, *parts)
        request[_PARSED] = parts
    for part in request[_PARSED]:
        if name in part:
            return part[name]
    return marshmallow.missing


def _refuse_unknown(path: str, names: set[str]) -> None:
    """Refuse misspelt options; otherwise their defaults would silently apply."""
    known = ALLOWED.get(path.rstrip("/").rpartition("/")[2], frozenset())
    for name in sorted(names - known) if known else ():
        options = ", ".join(sorted(known))
        message = f"Unknown option; the options are: {options}."
        raise marshmallow.ValidationError({name[:80]: [message]})


def _refuse_ambiguous(request: web.Request, query: Any, form: Any, body: Any) -> None:
    """Refuse options that are given twice, or in a place where they would be ignored."""
    values: dict[str, set[str]] = {}
    for part in (query, form):
        for name in set(part):
            known = values.setdefault(name, set())
            known |= {v for v in part.getall(name) if isinstance(v, str)}
            if len(known) > 1:
                message = "Given several times; give one value."
                raise marshmallow.ValidationError({name[:80]: [message]})
    if "data" in query or "data" in body:
        raise marshmallow.ValidationError({"data": ["Send it as a file in the form."]})
    answered = header(request, "accept", marshmallow.fields.String())
    answered = JSON if answered in (marshmallow.missing, "*/*") else answered
    for part in (query, form, body):  # AI4OS's own page sends both, with the same value
        if part.get("accept", answered) not in (answered, "*/*"):
            raise marshmallow.ValidationError({"accept": ["Send it as the Accept header."]})


@aiohttpparser.parser.location_handler("headers")  # type: ignore[untyped-decorator]
def header(request: web.Request, name: str, field: marshmallow.fields.Field) -> Any:
    """A header's value. Browsers list several types in ``Accept``: the best one we can send."""
    given = request.headers.get(name)
    if given is None:
        return marshmallow.missing
    if name.lower() != "accept":
        return given
    wanted = [_weighed(part) for part in ",".join(request.headers.getall(name)).split(",")]
    for _, kind in sorted((w for w in wanted if w[0] > 0), key=lambda w: -w[0]):
        if kind in (*ACCEPTED, "*/*"):
            return kind
        if kind in ("text/*", "application/*"):
            return CSV if kind == "text/*" else JSON
    return given


def _weighed(part: str) -> tuple[float, str]:
    kind, *parameters = (word.strip() for word in part.split(";"))
    weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return float(weight), kind.lower()
    except ValueError:
        return 0.0, kind.lower()


async def _form(request: web.Request) -> Any:
    try:
        async with asyncio.timeout(patience(request)):
            return await request.post()
    except TimeoutError as error:
        raise _too_slow(request) from error
    except MALFORMED as error:
        message = str(error)[:200]
        raise marshmallow.ValidationError({"body": [f"Unreadable form: {message}"]}) from error
    except web.HTTPRequestEntityTooLarge as error:  # the length was checked before: too many parts
        message = f"{str(error.text).rstrip('.')}; send more files as one zip or tar"
        raise web.HTTPRequestEntityTooLarge(
            0, 0, text=_error("too_large", message), content_type="application/json",
        ) from error  # fmt: skip
    except ConnectionError:  # the client left
        raise
    except OSError as error:
        raise _not_stored(error) from error


def _too_slow(request: web.Request) -> web.HTTPException:
    message = (
        f"the body did not arrive within {patience(request):.0f} s; "
        "send less at once, or use a faster connection"
    )
    return web.HTTPRequestTimeout(text=_error("too_slow", message), content_type="application/json")


def patience(request: web.Request) -> float:
    """Seconds within which a body must arrive: a slower client would block a place in the queue."""
    return PATIENCE_S + (request.content_length or 0) / SLOWEST_BYTES_S


async def _json(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json" or not request.body_exists:
        return {}
    try:
        if (request.content_length or 0) > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        async with asyncio.timeout(patience(request)):
            body = json.loads(await request.text())
        if not isinstance(body, dict):
            raise ValueError("it is not an object")
    except TimeoutError as error:
        raise _too_slow(request) from error
    except (ValueError, LookupError, RecursionError) as error:
        message = str(error)[:200]
        raise marshmallow.ValidationError({"json": [f"Invalid JSON body: {message}"]}) from error
    return body
