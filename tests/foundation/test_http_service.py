"""What the services share: their prefix, their port, and an end by signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.http_service import base_path, listen, origin, stop_on_signals

web = pytest.importorskip("aiohttp.web")


@pytest.mark.parametrize("path", ["", "/", "/shore", "/a/b.c/", "/~me"])
def test_a_prefix_loses_its_last_slash(path: str) -> None:
    assert base_path(path, "/pi10") == path.rstrip("/")


@pytest.mark.parametrize("path", ["shore", "/..", "/a//b", "/a b", "/a?b", "/./a"])
def test_a_prefix_that_is_none_is_told(path: str) -> None:
    with pytest.raises(SettingError, match=r"--base-path is .*such as /pi10"):
        base_path(path, "/pi10")


def test_an_address_of_ipv6_has_brackets() -> None:
    assert origin("::1", 5000) == "http://[::1]:5000"
    assert origin("127.0.0.1", 5000) == "http://127.0.0.1:5000"


def test_a_port_that_is_taken_or_none_is_told() -> None:
    async def run(port: int, host: str = "127.0.0.1") -> int:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        try:
            return await listen(runner, host, port, "choose another --port")
        finally:
            await runner.cleanup()

    assert asyncio.run(run(0)) > 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=rf"port {port}: .*; choose another --port"):
            asyncio.run(run(port))
    with pytest.raises(SettingError, match="port 70000"):
        asyncio.run(run(70_000))
    with pytest.raises(SettingError, match="--host is empty; write 127"):
        asyncio.run(run(0, ""))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_sets_the_event(name: str) -> None:
    number = getattr(signal, name)

    async def run() -> None:
        stop = stop_on_signals()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 60)

    before = signal.signal(number, signal.SIG_DFL)
    try:
        asyncio.run(run())
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_after_nohup_a_hangup_is_ignored() -> None:
    async def run() -> bool:
        stop = stop_on_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(seen.wait(), 60)  # a later signal has come
        return stop.is_set()

    async def main() -> bool:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, seen.set)
        return await run()

    seen = asyncio.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert not asyncio.run(main())
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_hangup_is_no_second_signal(name: str) -> None:
    """A terminal that is closed sends two."""

    async def run() -> list[bool]:
        stop = stop_on_signals()
        set_by = []
        for number in (first, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            stop.clear()
            seen.clear()
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(seen.wait(), 60)  # a later signal has come
            set_by.append(stop.is_set())
        return set_by

    async def main() -> list[bool]:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, seen.set)
        return await run()

    first = getattr(signal, name)
    seen = asyncio.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert asyncio.run(main()) == [True, False, True, True]
    finally:
        signal.signal(signal.SIGHUP, before)
