"""Sends the minute lines to a receiver, in order, until each is acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3

from pi10_classifier.errors import OutputError, SettingError
from pi10_classifier.watch.ashore.pictures import PictureSpool, pictures_url
from pi10_classifier.watch.ledger import Ledger

TOKEN = "PI10_SUMMARY_TOKEN"  # noqa: S105  the variable's name  # nosec B105
LINES = 60
_PICTURES_PAUSE_S = 3600.0
_UNUSABLE = (413, 415, 422)  # of this picture alone
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


class Uplink:
    """A thread that sends the ledger's lines. state: "ok", or the last problem.

    Raises SettingError for an unusable address or token.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        environ: Mapping[str, str],
        pictures: PictureSpool | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = None
        if not usable or "@" in parts.netloc:
            # the value is not shown: it may hold a password
            raise SettingError(
                f"--summary-url must look like https://host/path, without a user; a token goes "
                f"into {TOKEN}"
            )
        self._url = url
        self._ledger = ledger
        token = environ.get(TOKEN, "").strip()  # a file of settings may have CR LF line ends
        if not (token.isascii() and token.isprintable()):
            raise SettingError(f"{TOKEN} must be ASCII in one line; its value is not shown")
        self._headers = {"Content-Type": "application/x-ndjson"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10.0, read=30.0), retries=False, maxsize=1
        )
        self._pictures, self._pictures_url = pictures, pictures_url(url)
        self._pictures_from = 0.0  # time.monotonic() from which they are sent
        self._most = LINES
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pi10-link", daemon=True)
        self.state = "not tried yet"
        with ledger.transaction() as db:
            db.execute("insert or replace into facts values ('sending', '1')")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there is a new line."""
        self._wake.set()

    def close(self, within_s: float) -> None:
        """Try once more to send all lines, then end; others are sent after the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(within_s)

    @property
    def waiting(self) -> int:
        """Number of lines that are not acknowledged."""
        query = "select count(*) from lines where seq > ?"
        return int(self._ledger.ask(query, (self._sent(),))[0][0])

    def _sent(self) -> int:
        return int(self._ledger.fact("sent") or 0)

    def _run(self) -> None:
        wait = _FIRST_WAIT_S
        while True:
            self._wake.clear()
            last = self._stop.is_set()
            try:
                while self._send() or (not last and self._send_picture()):
                    wait = _FIRST_WAIT_S
                self.state = "ok"
            except (urllib3.exceptions.HTTPError, OSError, OutputError) as error:
                refused = isinstance(error, _RefusedError)
                self.state = str(error) if refused else type(error).__name__
                if not last:
                    pause = wait * random.uniform(0.5, 1.5)  # noqa: S311  # nosec B311
                    self._sleep(pause)
                    wait = min(2 * wait, _LONGEST_WAIT_S)
                    continue
            if last:
                return
            self._wake.wait(_LONGEST_WAIT_S)

    def _sleep(self, seconds: float) -> None:
        """Wait; a new line does not end the wait, as the receiver would still not answer."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            self._stop.wait(left)

    def _send(self) -> bool:
        """Send the oldest lines; False where there are none."""
        query = "select seq, line from lines where seq > ? order by seq limit ?"
        lines = self._ledger.ask(query, (self._sent(), self._most))
        if not lines:
            return False
        body = "".join(f"{line}\n" for _, line in lines).encode()
        # only the status is used; a body may be anything, of any length
        answer = self._http.request(
            "POST", self._url, body=body, headers=self._headers, redirect=False,
            preload_content=False,
        )  # fmt: skip
        status, short = answer.status, answer.headers.get("Content-Length") == "0"
        if short:
            answer.release_conn()
        else:
            answer.close()
        if status == 413 and self._most > 1:
            self._most //= 2
            return True
        if not 200 <= status < 300:
            raise _RefusedError(f"the receiver answers {status}")
        with self._ledger.transaction() as db:
            db.execute("insert or replace into facts values ('sent', ?)", (str(lines[-1][0]),))
        return True

    def _send_picture(self) -> bool:
        """Send one picture, as no line waits; False where there is none, or no budget for it."""
        if not self._pictures or time.monotonic() < self._pictures_from:
            return False
        picture = self._pictures.next()
        if picture is None:
            return False
        answer = self._http.request(
            "POST", f"{self._pictures_url}?{picture.query}", body=picture.data, redirect=False,
            headers=self._headers | {"Content-Type": "image/jpeg"}, preload_content=False,
        )  # fmt: skip
        status = answer.status
        answer.close()
        if 200 <= status < 300 or status in _UNUSABLE:
            self._pictures.done(picture)
            return True
        # a receiver of lines alone, or a busy one: the lines must not suffer
        self._pictures_from = time.monotonic() + _PICTURES_PAUSE_S
        return False


class _RefusedError(OSError):
    """The receiver answered, but did not acknowledge the lines."""
