"""Logs in JSON: one object per line, with the id of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from pi10_classifier.api.request_stats import CURRENT
from pi10_classifier.foundation.redaction import scrub, secrets_of

_PLAIN = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
_LONGEST = 8000
# what these libraries log at INFO does not help an operator
_QUIET = ("deepaas", "stevedore", "oslo_config", "asyncio", "aiohttp.access")


class JsonLines(logging.Formatter):
    """Formats ``time`` (UTC), ``level``, ``logger``, ``message``, ``request_id`` and the extras.

    The environment's secrets are removed from every text.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        self._secrets = secrets_of(environ)

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST],
        }
        stats = CURRENT.get()
        if stats:
            line["request_id"] = stats.request_id
        line |= {key: value for key, value in record.__dict__.items() if key not in _PLAIN}
        cause = record.exc_info[0] if record.exc_info else None
        if cause and cause.__module__ == "aiohttp.http_exceptions":
            # invalid HTTP: the text quotes the request, which may hold private data
            line["exception"] = cause.__name__
        elif record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-_LONGEST:]
        return json.dumps(scrub(line, self._secrets), default=str, ensure_ascii=False)


def configure(
    level: str = "info", stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """Send all logs of this process to ``stream`` (standard error) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # DEEPaaS logs the libraries' deprecation warnings, which do not concern an operator
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
