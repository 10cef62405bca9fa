"""A link between ship and shore that a benchmark can cut and mend."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class CutLink:
    """A TCP relay in this process that can be cut: no new connections, and the open ones break."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._down = False
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._down = True
        for link in list(self._open):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._down = False

    def _accept(self) -> None:
        while True:
            inner, _ = self._server.accept()
            if self._down:
                inner.close()
                continue
            try:
                outer = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                inner.close()
                continue
            self._open |= {inner, outer}
            for one, other in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
        for link in (one, other):
            self._open.discard(link)
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
