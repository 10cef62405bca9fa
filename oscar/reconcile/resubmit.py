"""Submits an input again: through the service's job endpoint, or in this process."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from urllib.parse import quote, urlsplit

import urllib3

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.reconcile.attempt_marker import Marker, look
from pi10_classifier.oscar.reconcile.pairing import PairState
from pi10_classifier.oscar.records.event import Event
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import ObjectVersion
from pi10_classifier.sources.s3_client import ObjectStream

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_COPY = 2**20


class Submitter(Protocol):
    """Submits an input again; ``here`` is true if this process classifies it itself."""

    here: bool

    def submit(self, version: ObjectVersion, attempt: int = 0) -> str:
        """Returns the outcome: ``submitted``, ``result`` or ``failure``.

        attempt: its number, 1 to 9, for the marker of the work. Raises InputError if this input
        could not be submitted, and SettingError if no input can.
        """
        ...


class JobEndpoint:
    """Submits with ``POST <endpoint>/job/<service>`` and an event like one of MinIO."""

    here = False

    def __init__(self, environ: Mapping[str, str], service: str) -> None:
        endpoint = (environ.get("OSCAR_ENDPOINT") or "").rstrip("/")
        if not endpoint:
            raise SettingError(
                "OSCAR_ENDPOINT is not set; set it to your cluster's address, or, with "
                "`pi10 oscar local up`, run: . pi10-local/environment"
            )
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise SettingError(
                "OSCAR_ENDPOINT must look like https://oscar.example.org, without a user; "
                "the service's token goes into OSCAR_SERVICE_TOKEN"
            )
        token = environ.get("OSCAR_SERVICE_TOKEN") or ""
        if not token or not token.isprintable():
            raise SettingError(
                "OSCAR_SERVICE_TOKEN is not set; `pi10 oscar status` and OSCAR's dashboard "
                "show the token of a service"
            )
        self._url = f"{endpoint}/job/{quote(service)}"
        self._service = service
        self._token = token
        deadline = environ.get("PI10_OSCAR_DEADLINE") or "60"
        try:
            self._deadline_s = float(deadline)
        except ValueError:
            raise SettingError(f"PI10_OSCAR_DEADLINE is {deadline!r}; give seconds") from None
        verify = (environ.get("OSCAR_SSL_VERIFY") or "true").lower() not in ("false", "0", "no")
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5.0, read=30.0),
            retries=False,
            cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
        )

    def submit(self, version: ObjectVersion, attempt: int = 0) -> str:
        event = Event(version.bucket, version.key, version.etag, version.size, attempt)
        self.post(event.to_json())
        return "submitted"

    def post(self, body: str) -> None:
        """Start a job with this body; raises the same errors as ``submit``."""
        started, wait = time.monotonic(), _FIRST_WAIT_S
        while True:
            try:
                answer = self._pool.request(
                    "POST",
                    self._url,
                    body=body.encode(),
                    headers={
                        "Authorization": f"Bearer {self._token}",
                        "Content-Type": "application/json",
                    },
                    redirect=False,
                )
                if answer.status in (200, 201, 202):
                    return
                self._refused(answer.status)
                why = f"status {answer.status}"
            except urllib3.exceptions.HTTPError as error:
                why = type(error).__name__
            pause = wait * random.uniform(0.5, 1.5)  # noqa: S311  jitter  # nosec B311
            if time.monotonic() + pause - started > self._deadline_s:
                raise InputError(
                    Code.STORAGE_UNAVAILABLE,
                    f"{self._url}: no job accepted within {self._deadline_s:g} s ({why}); "
                    "run again when the cluster answers",
                )
            time.sleep(pause)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    def _refused(self, status: int) -> None:
        if status in (401, 403):
            raise SettingError(
                f"{self._url} answers {status}; OSCAR_SERVICE_TOKEN is not the token of "
                f"{self._service!r}"
            )
        if status == 404:
            raise SettingError(
                f"{self._url} answers 404; there is no service {self._service!r} on this "
                "cluster: deploy it, or correct --service"
            )
        if status not in _PASSING:
            raise SettingError(
                f"{self._url} answers {status}; check that OSCAR_ENDPOINT is an OSCAR endpoint"
            )


class InPlace:
    """Downloads, classifies and uploads in this process, with the handler of the jobs."""

    here = True

    def __init__(
        self, handler: Handler, out: Bucket, raise_if_cancelled: Callable[[], None]
    ) -> None:
        self._handler = handler
        self._out = out
        self._raise_if_cancelled = raise_if_cancelled

    def submit(self, version: ObjectVersion, attempt: int = 0) -> str:
        with tempfile.TemporaryDirectory(prefix="pi10-") as folder, ExitStack() as stack:
            if attempt:  # before the download, which may be what kills the process
                stack.enter_context(
                    Marker(lambda: self._out, version, self._handler.identity, attempt,
                           at_once=True)
                )  # fmt: skip
            path, made = Path(folder) / "object", Path(folder) / "output"
            made.mkdir()
            self._download(version, path)
            done = self._handler.handle(path, version, made, self._raise_if_cancelled)
            if done.failure:
                now = look(self._out, done.version, self._handler.identity)
                if now.state is PairState.RESULT:  # another job has a result: write no failure
                    return "result"
            for name in done.names:  # the record comes last
                self._out.put(name, (made / name).read_bytes())
        return "failure" if done.failure else "result"

    def _download(self, version: ObjectVersion, path: Path) -> None:
        with (
            ObjectStream(
                self._out.store, version.bucket, version.key, version.size, version.etag
            ) as raw,
            path.open("wb") as target,
        ):
            while data := cast("BinaryIO", raw).read(_COPY):
                self._raise_if_cancelled()
                target.write(data)
