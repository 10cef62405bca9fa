"""Keeps secrets out of files and messages: values from the environment, and known patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

_WORDS = r"PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIALS?|AUTHORIZATION|API_?KEY|ACCESS_KEY|PRIVATE_KEY"
# matched at the end of the name: TOKENIZERS_PARALLELISM and AWS_ACCESS_KEY_ID hold no secret
_SECRET_NAME = re.compile(rf"(?:^|_)(?:{_WORDS})$", re.IGNORECASE)
_SHORTEST_SECRET = 4  # replacing a shorter one would also hit ordinary words
_HIDDEN = "***"
# secrets that come from elsewhere: an address in a library's message, a pasted header
_SHAPES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # user:password@ in an address
        (r"(?<=://)[^\s/?#'\"<>]+@", f"{_HIDDEN}@"),
        # ?token=…, &X-Amz-Signature=…
        (
            r"(?i)([?&][\w.-]*(?:password|token|secret|signature|credential|api[_-]?key|access[_-]"
            r"?key|sig)=)[^\s&#'\"]+",
            rf"\g<1>{_HIDDEN}",
        ),
        # Authorization: Basic …, X-Auth-Token: …, X-Api-Key: …, also in JSON or Python syntax
        (
            r"(?i)\b((?:proxy-)?authorization|cookie|x-[\w-]*(?:token|key|secret))"
            r"(['\"]?\s*[:=]\s*['\"]?)(?:(basic|bearer|token|digest)\s+)?[^\s'\",;]+",
            rf"\g<1>\g<2>{_HIDDEN}",
        ),
        (r"\bBearer [\w.~+/=-]{8,}", f"Bearer {_HIDDEN}"),
        # MLFLOW_TRACKING_TOKEN=… before a command
        (rf"\b([A-Z][A-Z0-9_]*_(?:{_WORDS})=)[^\s'\"]+", rf"\g<1>{_HIDDEN}"),
    )
)


def redacted(uri: str) -> str:
    """The URI without user, password, query and fragment."""
    parts = urlsplit(uri)
    if parts.netloc:
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    bare = uri.partition("?")[0]
    # without http://, user and password still come before an @ in the first part
    host, slash, path = bare.partition("/")
    return bare if "://" in bare else host.rpartition("@")[2] + slash + path


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of the environment that no file and no message may show.

    These are the values of variables with a secret's name (``*_PASSWORD``, ``*_TOKEN``,
    ``*_SECRET_ACCESS_KEY`` and similar). From each address in any variable they include the
    password, a user without a password (a token) and the values of the query.
    """
    secrets = {value for name, value in environ.items() if _SECRET_NAME.search(name)}
    for value in environ.values():
        if "://" in value:
            secrets |= _address_secrets(value)
    secrets |= {unquote(value) for value in secrets}
    return tuple(sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True))


def _address_secrets(value: str) -> set[str]:
    try:
        parts = urlsplit(value.strip())
    except ValueError:  # not an address after all
        return set()
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {password or user, *(text for _, text in parse_qsl(parts.query))}


def scrub(value: Any, secrets: tuple[str, ...]) -> Any:
    """``value`` (text, list or dict of JSON) with every secret replaced by ``***``.

    Also replaced, with or without ``secrets``: the user and password of an address, tokens in
    its query, and the values of authorisation headers.
    """
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        for shape, replacement in _SHAPES:
            value = shape.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {scrub(k, secrets): scrub(v, secrets) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item, secrets) for item in value]
    return value
