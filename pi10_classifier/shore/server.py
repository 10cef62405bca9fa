"""`pi10 shore`: the receiver and the page in one process."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation import header_timeout
from pi10_classifier.foundation.http_service import (
    LARGEST_PORT,
    base_path,
    listen,
    log_no_requests,
    origin,
    stop_on_signals,
)
from pi10_classifier.shore.receiver.database import Database, is_named, open_database
from pi10_classifier.shore.receiver.receiving import Receiving
from pi10_classifier.shore.receiver.store import Store
from pi10_classifier.shore.receiver.tokens import Tokens, read_tokens
from pi10_classifier.shore.receiver.writer import Writer
from pi10_classifier.shore.voyages.runs import FinishedRun, open_runs
from pi10_classifier.shore.voyages.ships import Reader
from pi10_classifier.shore.webpage.page import Page
from pi10_classifier.shore.webpage.policy import with_policy
from pi10_classifier.shore.webpage.views import Views

LOG = logging.getLogger("pi10.shore")
GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class ShoreSettings:
    """Where to listen, what to keep, and what to show.

    store: folder of the received lines. database: the connection string of a PostgreSQL database
    in its place; without either, PI10_SHORE_DATABASE counts, and without all only ``results`` are
    shown. head_s: seconds in which a request's head must come. idle_s: those that a connection may
    be idle between two requests. Raises SettingError for values that cannot be used.
    """

    store: Path | None = None
    database: str | None = field(default=None, repr=False)
    tokens: Path | None = None
    results: Sequence[Path] = ()
    host: str = "127.0.0.1"
    port: int = 5080
    base_path: str = ""
    head_s: float = 30.0
    idle_s: float = header_timeout.IDLE_S

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_path", base_path(self.base_path, "/shore"))
        if not 0 <= self.port <= LARGEST_PORT:
            raise SettingError(f"--port is {self.port}; it must be 0 to 65535")


def serve(
    settings: ShoreSettings, environ: Mapping[str, str], announce: Callable[[str], None]
) -> None:
    """Receive and show until SIGTERM or Ctrl-C.

    announce: gets the page's address once it can be opened. Raises SettingError or OutputError
    before it listens.
    """
    keeps = is_named(settings.store, settings.database, environ)
    if not keeps and not settings.results:
        raise SettingError("nothing to show: give --store, --database, or folders of results")
    runs = open_runs(settings.results)
    tokens = read_tokens(settings.tokens, environ) if keeps else None
    database = open_database(settings.store, settings.database, environ)
    try:
        store = Store(database) if database else None
        if store and tokens:
            store.enlist(tokens.ships)
        asyncio.run(_serve(settings, database, store, tokens, runs, announce))
    finally:
        if database:
            database.close()


async def _serve(
    settings: ShoreSettings,
    database: Database | None,
    store: Store | None,
    tokens: Tokens | None,
    runs: Sequence[FinishedRun],
    announce: Callable[[str], None],
) -> None:
    stop = stop_on_signals()
    log_no_requests()
    header_timeout.install(settings.head_s, settings.idle_s)
    base = settings.base_path
    app = web.Application(middlewares=[with_policy])
    writer = Writer(store) if store else None
    if writer and tokens:
        receiving = Receiving(tokens, writer)
        for path in ("/lines", "/", *([""] if base else [])):
            app.router.add_post(f"{base}{path}", receiving.post)
        app.router.add_post(f"{base}/pictures", receiving.post_picture)
    Page(Views(Reader(database) if database else None, runs)).add_to(app, base)
    app.router.add_get(f"{base}/health", lambda request: _health(writer))
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=GRACE_S, auto_decompress=False
    )
    try:
        await runner.setup()
        port = await listen(runner, settings.host, settings.port)
        announce(f"{origin(settings.host, port)}{base}/")
        await stop.wait()
    finally:
        await runner.cleanup()
        if writer:
            await writer.close()


async def _health(writer: Writer | None) -> web.Response:
    """200 while lines can be stored, 503 while the disk or the database fails."""
    trouble = writer.state if writer else ""
    body = {"status": "failing" if trouble else "ok", "pid": os.getpid()}
    return web.json_response(body, status=503 if trouble else 200)
