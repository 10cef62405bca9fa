"""Secrets of the environment, kept out of every file and message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

_SECRET_SETTINGS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
_SHORTEST_SECRET = 4  # a shorter one would also strike out innocent words
_HIDDEN = "***"


def redacted(uri: str) -> str:
    """The URI without user, password, query and fragment."""
    parts = urlsplit(uri)
    return (
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
        if parts.netloc
        else uri.partition("?")[0]
    )


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the environment that no file and no message may show."""
    found = {environ.get(name, "") for name in _SECRET_SETTINGS}
    parts = urlsplit(environ.get("MLFLOW_TRACKING_URI", ""))
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    # a lone user part is a token
    found |= {password or user, *(value for _, value in parse_qsl(parts.query))}
    found |= {unquote(value) for value in found}
    return tuple(sorted((s for s in found if len(s) >= _SHORTEST_SECRET), key=len, reverse=True))


def scrub(value: Any, secrets: tuple[str, ...]) -> Any:
    """``value`` (text, list or dict of JSON) with every secret replaced by ``***``."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {scrub(k, secrets): scrub(v, secrets) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item, secrets) for item in value]
    return value
