"""What `pi10 serve` and `pi10 shore` share: an address to listen on, and an end by signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
from typing import TYPE_CHECKING, Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.signals import SIGNALS

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

LOG = logging.getLogger("pi10.http")
_QUIET_S = 60.0
_BACKLOG = 512  # connections that wait to be accepted
_BASE_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
LARGEST_PORT = 65_535


def base_path(text: str, example: str) -> str:
    """The prefix of a service's addresses, without a slash at its end. Raises SettingError."""
    path = text.rstrip("/")
    if not _BASE_PATH.fullmatch(path):
        raise SettingError(
            f"--base-path is {path!r}; it must begin with / and may hold letters, digits and "
            f"._~- between slashes, such as {example}"
        )
    return path


def origin(host: str, port: int) -> str:
    """``http://host:port``, with the brackets that an IPv6 address needs."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _WithoutRequest(logging.Filter):
    """What is no HTTP becomes one line: the error quotes the request, which may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        cause = record.exc_info[0] if record.exc_info else None
        if cause and cause.__module__ == "aiohttp.http_exceptions":
            record.msg = f"{record.msg}: invalid HTTP ({cause.__name__})"
            record.exc_info = None
        return True


_WITHOUT_REQUEST = _WithoutRequest()


def log_no_requests() -> None:
    """Keep the text of requests that are no HTTP out of this process's log."""
    logging.getLogger("aiohttp.server").addFilter(_WITHOUT_REQUEST)


class _NoMoreFiles:
    """Handles errors of the loop: one line a minute where connections cannot be accepted.

    asyncio tells of each with a traceback, thousands a second, which fills the disk.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not (isinstance(error, OSError) and "accept()" in str(context.get("message"))):
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + _QUIET_S
            LOG.error(
                "no more connections can be accepted: %s; see who holds them, or raise the limit "
                "of open files (ulimit -n)", error.strerror,
            )  # fmt: skip


def stop_on_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set, and SIGHUP, so that a terminal that is closed cuts off
    no request; call it in the running loop.

    After ``nohup`` SIGHUP stays ignored. It is never a second signal: a terminal that is closed
    sends it twice, by the shell and by the kernel.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    first = True

    def hear(number: signal.Signals) -> None:
        nonlocal first
        if first or number in SIGNALS:
            stop.set()
        first = False

    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none
    heard = [number for number in hangup if signal.getsignal(number) is not signal.SIG_IGN]
    for number in (*SIGNALS, *heard):
        with contextlib.suppress(NotImplementedError):  # not on Windows
            loop.add_signal_handler(number, hear, number)
    return stop


async def listen(
    runner: AppRunner, host: str, port: int, remedy: str = "choose another --host or --port"
) -> int:
    """Accept connections for a runner that is set up; returns the port (port 0: a free one).

    remedy: ends the message. Raises SettingError where the address cannot be used.
    """
    from aiohttp.web import TCPSite

    if not host.strip():  # it would be all addresses
        raise SettingError("--host is empty; write 127.0.0.1, or 0.0.0.0 for all addresses")
    asyncio.get_running_loop().set_exception_handler(_NoMoreFiles())
    try:
        await TCPSite(runner, host, port, backlog=_BACKLOG).start()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingError(f"cannot listen on {host} port {port}: {reason}; {remedy}") from error
    return int(runner.addresses[0][1])
