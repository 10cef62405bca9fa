"""The route that ships send to: who sends, what the body holds, and what became of it.

Answers: 200 once every line is on disk (or refused for good, with its reason in the answer); 401
and 403 for tokens; 400, 408, 413 and 415 for bodies; 503 and 507 where the disk fails or is full.
After anything but 200 the ship keeps its lines and sends them again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from pi10_classifier.errors import Code, OutputError
from pi10_classifier.shore.receiver.lines import AheadError, Line, LineError, parse
from pi10_classifier.shore.receiver.pictures import MOST_BYTES as MOST_PICTURE_BYTES
from pi10_classifier.shore.receiver.pictures import PictureError, read_picture
from pi10_classifier.shore.receiver.store import ForeignSourceError, Post
from pi10_classifier.shore.receiver.tokens import Tokens
from pi10_classifier.shore.receiver.writer import BusyError, Writer

LOG = logging.getLogger("pi10.shore")

MOST_BODY_BYTES = 256 * 1024  # `pi10 watch` sends 30 kB at most
MOST_LINES = 1000
BODY_SECONDS = 60.0  # a satellite link is slow
_QUIET_S = 60.0  # between two log lines about unknown tokens
MOST_SHOWN = 20  # reasons in an answer


class Receiving:
    """The route for POST; each request is a body of lines (application/x-ndjson)."""

    def __init__(self, tokens: Tokens, writer: Writer) -> None:
        self._tokens = tokens
        self._writer = writer
        self._quiet_until = 0.0

    async def post(self, request: web.Request) -> web.Response:
        """Enter the lines of a request."""
        return await self._received(request, MOST_BODY_BYTES, _post)

    async def post_picture(self, request: web.Request) -> web.Response:
        """Enter one picture: its bytes, and what it shows in the query."""

        def picture_of(ship: str, body: bytes) -> Post:
            return Post(ship, int(time.time()), [], picture=read_picture(request.query, body))

        return await self._received(request, MOST_PICTURE_BYTES, picture_of)

    async def _received(
        self, request: web.Request, most: int, read: Callable[[str, bytes], Post | None]
    ) -> web.Response:
        ship = self._tokens.ship_of(request.headers.get("Authorization", ""))
        if ship is None:
            if time.monotonic() > self._quiet_until:
                self._quiet_until = time.monotonic() + _QUIET_S
                LOG.warning("a request from %s had no known token", request.remote)
            return _failure(
                401, "wrong_token", "the token is unknown; set PI10_SUMMARY_TOKEN on the ship",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":  # a compressed body that was cut off would pass for a whole one
            return _failure(
                415, "unsupported_encoding",
                f"the body's Content-Encoding is {ascii(encoding)[:60]}; send it uncompressed",
            )  # fmt: skip
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request, most)
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError) as error:
            # a link that breaks is no rarity at sea; the ship sends all of it again
            LOG.warning("a request of %s broke off: nothing of it was kept", ship)
            return _failure(400, "broken_body", f"the body is not whole: {error}"[:200])
        except TimeoutError:
            return _failure(408, "too_slow", f"the body took over {BODY_SECONDS:g} seconds")
        if body is None:
            return _failure(413, "too_large", f"a body may have {most} bytes")
        try:
            post = await asyncio.to_thread(read, ship, body)
        except PictureError as error:
            LOG.warning("a picture of %s was refused: %s", ship, error)
            return _failure(422, "bad_picture", str(error))
        if post is None:
            return _failure(413, "too_large", f"a body may have {MOST_LINES} lines")
        try:
            receipt = await self._writer.enter(post)
        except BusyError:
            return _failure(503, "busy", "too many requests wait; send again", {"Retry-After": "5"})
        except ForeignSourceError as error:
            LOG.warning("%s was refused: %s", ship, error)
            return _failure(403, "foreign_source", f"{error}; nothing of this request was kept")
        except OutputError as error:
            full = error.code is Code.DISK_FULL
            LOG.error("lines of %s could not be stored: %s", ship, error.message)
            return _failure(
                507 if full else 503,
                error.code,
                "the receiver's disk or database is full or fails, or its clock is wrong",
            )
        if receipt.refused:
            number = len(receipt.refused)
            LOG.warning("%d lines of %s were refused: %s", number, ship, receipt.refused[0])
        return web.json_response({
            "accepted": receipt.accepted, "repeated": receipt.repeated,
            "refused": len(receipt.refused), "reasons": receipt.refused[:MOST_SHOWN],
        })  # fmt: skip


async def _body(request: web.Request, most: int) -> bytes | None:
    """The body; None where it is too large."""
    if (request.content_length or 0) > most:
        return None
    body = bytearray()
    async for piece in request.content.iter_chunked(65_536):
        body += piece
        if len(body) > most:
            return None
    return bytes(body)


def _post(ship: str, body: bytes) -> Post | None:
    """The lines of a body, checked; None where there are too many."""
    now = int(time.time())
    texts = [text for text in body.decode("utf-8", "replace").split("\n") if text.strip()]
    if len(texts) > MOST_LINES:
        return None
    lines: list[Line] = []
    refused: list[tuple[str, str]] = []
    ahead = False
    for text in texts:
        try:
            lines.append(parse(text.rstrip("\r"), now // 60))
        except LineError as error:
            refused.append((text, str(error)))
            ahead |= isinstance(error, AheadError)
    return Post(ship, now, lines, refused, ahead=ahead)


def _failure(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    body: dict[str, Any] = {"error": {"code": str(code), "message": message}}
    return web.json_response(body, status=status, headers=headers)
