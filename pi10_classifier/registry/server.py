"""HTTP to an MLflow server: JSON calls, files down and up, with limits on bytes and time.

MLflow itself is not imported, as it costs 300 MB and seconds at each start. The variables are
MLflow's own: MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_SERVER_CERT_PATH and
MLFLOW_TRACKING_INSECURE_TLS.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import urllib3

from pi10_classifier.errors import Code, Pi10Error, SettingError
from pi10_classifier.foundation.redaction import redacted, scrub, secrets_of

ADDRESSES = ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI")
VARIABLES = (
    *ADDRESSES, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS",
)  # fmt: skip
CONNECT_S, READ_S = 5.0, 30.0
# all of an answer must be there by then: a server that sends a byte at a time is away too
ANSWER_S, FILE_S = 30.0, 1800.0
MAX_ANSWER = 8 * 2**20
_CHUNK = 2**18


class RegistryAwayError(Pi10Error):
    """The registry does not answer, or not as one does: a cached model may stand in."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.STORAGE_UNAVAILABLE, message)


class RegistryRefusedError(SettingError):
    """The registry answered with a refusal. reason: MLflow's error code, "" without one."""

    def __init__(self, message: str, reason: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether what was asked for does not exist."""
        return self.reason == "RESOURCE_DOES_NOT_EXIST" or (not self.reason and self.status == 404)


class RegistryServer:
    """An MLflow server. address: without a password, for messages and for the cache."""

    def __init__(self, uri: str, environ: Mapping[str, str]) -> None:
        try:
            parts = urlsplit(uri.strip())
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = None
        self.address = redacted(uri.strip()).rstrip("/")
        if not usable:
            raise SettingError(
                f"the registry {self.address[:200]!r} is not http:// or https://; set"
                " MLFLOW_TRACKING_URI to an MLflow server (mlflow server --backend-store-uri"
                " sqlite:////ABSOLUTE/PATH.db serves a file)"
            )
        self._secrets = secrets_of({**environ, "PI10_REGISTRY_ADDRESS": uri})
        self._headers = _credentials(parts.username, parts.password, environ)
        insecure = environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
        tls: dict[str, Any] = {"cert_reqs": "CERT_NONE"} if insecure else {}
        if path := environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            tls["ca_certs"] = path
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S), retries=False, maxsize=2,
            **tls,
        )  # fmt: skip

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> RegistryServer:
        """The server that MLflow's variables name. Raises SettingError if there is none."""
        for name in ADDRESSES:
            if environ.get(name, "").strip():
                return cls(environ[name], environ)
        raise SettingError(
            "no registry is known; set MLFLOW_TRACKING_URI to the address of an MLflow server"
        )

    def ask(self, method: str, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Call ``/api/2.0/mlflow/PATH``; GET sends ``values`` as a query, all others as JSON.

        Raises RegistryAwayError or RegistryRefusedError.
        """
        url, body = f"/api/2.0/mlflow/{path}", None
        if method == "GET":
            url += "?" + urlencode({k: v for k, v in values.items() if v not in ("", None)})
        else:
            body = json.dumps(values).encode()
        with self._opened(method, url, body, {"Content-Type": "application/json"}) as answer:
            data = b"".join(self._chunks(answer, MAX_ANSWER, ANSWER_S, path))
        try:
            fields = json.loads(data or b"{}")
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise RegistryAwayError(
                f"{self.address} does not answer {path} with JSON ({data[:40]!r}); check that it is"
                " an MLflow server"
            )
        return fields

    def fetch(self, path: str, query: Mapping[str, str], into: IO[bytes], most: int) -> int:
        """Write a file of at most ``most`` bytes to ``into``; returns its size.

        Raises RegistryAwayError, RegistryRefusedError, or OSError for the disk.
        """
        url = f"{path}?{urlencode(query)}" if query else path
        size = 0
        with self._opened("GET", url, None, {}) as answer:
            declared = answer.headers.get("Content-Length", "")
            if declared.isdigit() and int(declared) > most:
                raise self._too_large(path, int(declared), most)
            for chunk in self._chunks(answer, most, FILE_S, path):
                size += into.write(chunk)
            if declared.isdigit() and size != int(declared) and not answer.headers.get(
                "Content-Encoding"
            ):  # fmt: skip
                raise RegistryAwayError(
                    f"{self.address} ended after {size:,} of {declared} bytes; try again"
                )
        return size

    def send(self, path: str, file: Path) -> None:
        """Upload a file by PUT. Raises RegistryAwayError or RegistryRefusedError."""
        with file.open("rb") as stream:
            headers = {"Content-Length": str(file.stat().st_size)}
            with self._opened("PUT", quote(path), stream, headers) as answer:
                for _ in self._chunks(answer, MAX_ANSWER, ANSWER_S, path):
                    pass

    @contextmanager
    def _opened(
        self, method: str, url: str, body: Any, headers: Mapping[str, str]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        answer: urllib3.BaseHTTPResponse | None = None
        whole = False
        try:
            # no redirect: it would carry the credentials to another host
            answer = self._http.request(
                method, self.address + url, body=body, redirect=False, preload_content=False,
                headers={**self._headers, **headers, "Accept-Encoding": "identity"},
            )  # fmt: skip
            if answer.status != 200:
                self._refuse(answer, url.partition("?")[0])
            yield answer
            whole = True
        except (urllib3.exceptions.HTTPError, TimeoutError, ConnectionError) as error:
            reason = scrub(str(error), self._secrets).splitlines()[0][-200:]
            raise RegistryAwayError(
                f"the registry {self.address} does not answer ({type(error).__name__}: {reason});"
                " check MLFLOW_TRACKING_URI and the network"
            ) from None
        finally:
            if answer is not None:
                (answer.release_conn if whole else answer.close)()

    def _chunks(
        self, answer: urllib3.BaseHTTPResponse, most: int, seconds: float, path: str
    ) -> Iterator[bytes]:
        until, size = time.monotonic() + seconds, 0
        # read1 returns what has come; ``stream`` would wait for a whole chunk of a slow server
        while chunk := answer.read1(_CHUNK):
            size += len(chunk)
            if size > most:
                raise self._too_large(path, size, most)
            if time.monotonic() > until:
                raise RegistryAwayError(
                    f"{self.address} sent {size:,} bytes in {seconds:g} s; check the network"
                )
            yield chunk

    def _too_large(self, path: str, size: int, most: int) -> RegistryRefusedError:
        return RegistryRefusedError(
            f"{self.address} sends {size:,} bytes or more for {path}; at most {most:,} are taken"
        )

    def _refuse(self, answer: urllib3.BaseHTTPResponse, path: str) -> None:
        status = answer.status
        if status >= 500 or status in (408, 425, 429):
            raise RegistryAwayError(
                f"the registry {self.address} answers {status}; look at the server's log"
            )
        data = b"".join(self._chunks(answer, 2**16, ANSWER_S, path))
        try:
            fields = dict(json.loads(data))
        except (TypeError, ValueError, RecursionError):
            fields = {}
        reason = str(fields.get("error_code", ""))[:80]
        text = scrub(str(fields.get("message", ""))[:300], self._secrets)
        if status in (401, 403):
            text = "check MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
        elif 300 <= status < 400:
            text = "a redirect, which is not followed; set MLFLOW_TRACKING_URI to its target"
        more = f": {text}" if text else ""
        message = f"the registry {self.address} answers {status} to {path}{more}"
        raise RegistryRefusedError(message, reason, status)


def _credentials(
    user: str | None, password: str | None, environ: Mapping[str, str]
) -> dict[str, str]:
    user = unquote(user or "") or environ.get("MLFLOW_TRACKING_USERNAME", "").strip()
    password = unquote(password or "") or environ.get("MLFLOW_TRACKING_PASSWORD", "").strip()
    token = environ.get("MLFLOW_TRACKING_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()):
        raise SettingError("MLFLOW_TRACKING_TOKEN must be ASCII in one line; it is not shown")
    try:
        if user:
            return dict(urllib3.make_headers(basic_auth=f"{user}:{password}"))
    except UnicodeEncodeError:
        raise SettingError(
            "MLFLOW_TRACKING_USERNAME and _PASSWORD must be Latin-1; they are not shown"
        ) from None
    return {"Authorization": f"Bearer {token}"} if token else {}
