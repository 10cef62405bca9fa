"""Serves a page of one run to this machine only (`pi10 validate label`, `pi10 sort`)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from pi10_classifier.api.webpage.labelling import (
    LARGEST_REQUEST,
    LabelPage,
    OneSession,
    Taxa,
    guard,
)
from pi10_classifier.foundation.http_service import (
    listen,
    log_no_requests,
    origin,
    stop_on_signals,
)
from pi10_classifier.labelling.session import Session

HOST = "127.0.0.1"


class Page(Protocol):
    """A page with what it asks for."""

    def add_to(self, app: web.Application, base: str) -> None: ...


def serve_labels(
    session: Session, *, port: int, labeller: str, taxa: Taxa | None,
    ready: Callable[[str], None],
) -> None:  # fmt: skip
    """As ``serve_alone``, of the labelling page. Raises SettingError if the port cannot be used."""
    serve_alone(LabelPage(OneSession(session), labeller, taxa), port=port, ready=ready)


def serve_alone(page: Page, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve a page to this machine until SIGTERM or Ctrl-C.

    port: 0 for any free port. ready: called with the page's address once it answers. The address
    holds a secret, so that other users of the machine and other web pages cannot reach the labels.
    Raises SettingError if the port cannot be used.
    """
    asyncio.run(_serve(page, port, ready))


async def _serve(page: Page, port: int, ready: Callable[[str], None]) -> None:
    stop = stop_on_signals()
    log_no_requests()
    hosts: set[str] = set()
    app = web.Application(middlewares=[guard(hosts)], client_max_size=LARGEST_REQUEST)
    secret = secrets.token_urlsafe(16)
    page.add_to(app, f"/{secret}")
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=2.0, handle_signals=False, auto_decompress=False
    )
    await runner.setup()
    try:
        chosen = await listen(runner, HOST, port, "choose another --port, or none")
        hosts |= {f"{HOST}:{chosen}", f"localhost:{chosen}"}
        ready(f"{origin(HOST, chosen)}/{secret}/")
        await stop.wait()
    finally:
        await runner.cleanup()
