"""The process that sends a spool to MLflow: ``python -m pi10_classifier.tracking.sender``.

It is a separate process for three reasons. MLflow's time limits are environment variables, which a
thread would change for the whole training. A server that hangs blocks nothing else. And the
training does not need MLflow's 300 MB of memory. Only ``sync.py`` starts it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pi10_classifier.foundation.redaction import scrub, secrets_of
from pi10_classifier.tracking import spool as sp
from pi10_classifier.tracking.delivery import Delivery, UnsentError
from pi10_classifier.tracking.spool import RunSpool

POLL_S = 0.5
LONGEST_PAUSE_S = 60.0
PROBLEM = ".sender-problem"  # this file exists while the sender cannot deliver anything


class Sender:
    """Sends the runs of one spool, and remembers their state between passes."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self.root = root
        self.uri = environ.get("MLFLOW_TRACKING_URI", "")
        self.secrets = secrets_of(environ)
        self._clients: dict[str, Any] = {}
        self._deliveries: dict[str, Delivery] = {}

    def pass_over(self) -> dict[str, str]:
        """Send all unsent events; returns {run id: why it could not be sent}."""
        problems: dict[str, str] = {}
        for spool in sp.runs_of(self.root):
            if spool.sent.offset >= spool.size:
                continue
            try:
                self._send(spool)
            except Exception as error:  # MLflow, its stores and requests share no base
                message = scrub(f"{type(error).__name__}: {error}", self.secrets)
                problems[spool.header.id] = message.splitlines()[0][:500]
                if not isinstance(error, UnsentError):
                    break  # the server does not answer, so the other runs would fail too
        return problems

    def _send(self, spool: RunSpool) -> None:
        sent = spool.sent
        # Removed while sending: after a failure it is unknown what the server accepted, so the
        # next attempt asks it again.
        delivery = self._deliveries.pop(spool.header.id, None)
        if delivery is None:
            uri = self.uri or spool.header.destination
            delivery = Delivery(self._client(uri), uri, spool, sent, self.root)
        delivery.send(sent, self.secrets)
        self._deliveries[spool.header.id] = delivery

    def _client(self, uri: str) -> Any:
        if uri not in self._clients:
            import mlflow

            # artifact repositories use the global address, not the client's
            mlflow.set_tracking_uri(uri)
            self._clients[uri] = mlflow.MlflowClient(uri)
        return self._clients[uri]


def follow(sender: Sender, ending: threading.Event) -> dict[str, str]:
    """Send events as they arrive, until ``ending``; then send the rest once."""
    failures = 0
    mark = sender.root / PROBLEM
    mark.unlink(missing_ok=True)
    while not ending.is_set():
        if sender.pass_over():
            failures = min(failures + 1, 10)
            mark.touch()
        else:
            failures = 0
            mark.unlink(missing_ok=True)
        ending.wait(min(POLL_S * 2**failures, LONGEST_PAUSE_S))
    return sender.pass_over()


def main(root: Path, following: bool, environ: Mapping[str, str]) -> dict[str, Any]:
    """Send the spool ``root``; return {"problems": {run id: why}} or {"busy": true}."""
    ending = threading.Event()
    if following:

        def listen() -> None:
            sys.stdin.readline()  # returns on a line, or when the training ends
            ending.set()

        threading.Thread(target=listen, daemon=True).start()
    lock = FileLock(root / sp.SENDER_LOCK)
    while True:
        try:
            lock.acquire(timeout=POLL_S if following else 0)
            break
        except Timeout:
            # the sender of a killed training still sends this spool, and will end
            waits = any(spool.pending for spool in sp.runs_of(root))
            away = (root / PROBLEM).exists()
            if not following or (ending.is_set() and (away or not waits)):
                return {"busy": True, "problems": {}}
    try:
        sender = Sender(root, environ)
        return {"problems": follow(sender, ending) if following else sender.pass_over()}
    finally:
        lock.release()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training decides when this ends
    answer = sys.stdout
    secrets = secrets_of(os.environ)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MLflow prints addresses there
            result = main(Path(sys.argv[1]), "--follow" in sys.argv, os.environ)
    except Exception as error:
        result = {"problems": {"": scrub(f"{type(error).__name__}: {error}", secrets)}}
    answer.write(json.dumps(result) + "\n")
    answer.flush()
    # do not wait for MLflow's threads, which may hang on a dead server
    os._exit(0)
