"""Logs as JSON, one object a line, each with the id of the request it belongs to."""

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
# what its libraries say at INFO is of no use to an operator
_QUIET = ("deepaas", "stevedore", "oslo_config", "asyncio", "aiohttp.access")


class JsonLines(logging.Formatter):
    """``time`` (UTC), ``level``, ``logger``, ``message``, ``request_id``, and a record's extras.

    The environment's secrets are struck out of every text.
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
            # what came was no HTTP: its text quotes the request, which may hold a query
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
    # the libraries' deprecations concern their makers; DEEPaaS sends them here
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
