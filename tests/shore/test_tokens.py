"""The file of tokens: what is refused, without being shown, and what editors put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.shore.receiver.tokens import read_tokens


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a b c", "3 words"),
        ("a short", "at least 16"),
        ("../x 0123456789abcdef", "name may have"),
        ("a 0123456789abcdef\nb 0123456789abcdef", "twice"),
        ("# none", "lists no ship"),
        ("a 0123456789abcdef\x00", "printable ASCII"),
    ],
)
def test_bad_tokens_are_told_without_being_shown(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingError, match=reason) as caught:
        read_tokens(path, {})
    assert "0123456789abcdef" not in str(caught.value)


def test_tokens_of_an_editor_with_a_byte_order_mark_and_with_a_hash_sign(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(b"\xef\xbb\xbfa 0123456789#abcdef0 # comment\r\n#b 0123456789abcdef0\r\n")
    tokens = read_tokens(path, {})
    assert tokens.ships == ("a",)
    assert tokens.ship_of("Bearer 0123456789#abcdef0") == "a"
