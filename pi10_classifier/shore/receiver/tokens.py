"""The ships and their tokens: who may send lines, and for which ship."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from pi10_classifier.errors import SettingError

VARIABLE = "PI10_SHORE_TOKENS"
LEAST_CHARACTERS = 16
_SHIP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMMENT = re.compile(r"(?:^|\s)#")  # a # within a token belongs to it


class Tokens:
    """Finds the ship of a token. It holds hashes only, so no message can show a token."""

    def __init__(self, text: str, origin: str) -> None:
        """Read lines ``ship token``; # begins a comment. Raises SettingError."""
        self._ships: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = _COMMENT.split(line)[0].split()
            if not words:
                continue
            where = f"{origin}, line {number}"
            if len(words) != 2:
                raise SettingError(f"{where} has {len(words)} words; write: ship token")
            ship, token = words
            if not _SHIP.fullmatch(ship):
                raise SettingError(
                    f"{where}: the ship's name may have letters, digits and ._- only, up to 64"
                )
            if len(token) < LEAST_CHARACTERS or not (token.isascii() and token.isprintable()):
                raise SettingError(
                    f"{where}: the token of {ship} must have at least {LEAST_CHARACTERS} "
                    "characters, all of printable ASCII; make one with: openssl rand -hex 24"
                )
            digest = sha256(token.encode()).digest()
            if ship in self._ships or digest in self._ships.values():
                raise SettingError(f"{where}: a ship or a token is listed twice")
            self._ships[ship] = digest
        if not self._ships:
            raise SettingError(f"{origin} lists no ship; write one line for each: ship token")

    @property
    def ships(self) -> tuple[str, ...]:
        return tuple(self._ships)

    def ship_of(self, header: str) -> str | None:
        """The ship whose token an Authorization header bears; None for any other header."""
        scheme, _, token = header.partition(" ")
        digest = sha256(token.strip().encode("utf-8", "surrogatepass")).digest()
        ship = None
        # all are compared, in constant time, so that the time tells nothing
        for name, known in self._ships.items():
            if hmac.compare_digest(known, digest):
                ship = name
        return ship if scheme.lower() == "bearer" else None


def read_tokens(path: Path | None, environ: Mapping[str, str]) -> Tokens:
    """The tokens in a file, else in the environment. Raises SettingError."""
    if path is None:
        text = environ.get(VARIABLE, "")
        if not text.strip():
            raise SettingError(
                f"no ship may send: give --tokens FILE, or {VARIABLE}, with lines: ship token"
            )
        return Tokens(text.replace(",", "\n"), VARIABLE)
    try:
        return Tokens(path.read_text("utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise SettingError(f"--tokens {path} cannot be read: {reason}") from error
