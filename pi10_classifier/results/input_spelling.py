"""Restores the spelling of the inputs when a run is resumed.

Units and rows are named by the paths as they were given. If the same input is given with another
spelling (``big/``, ``./big``, its absolute path), the first spelling is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pi10_classifier.results.run_folder import JOURNAL, SETTINGS


def spelled_as_before(inputs: Sequence[str], out: Path) -> list[str]:
    """``inputs``, with the spelling of the run in ``out`` if it has the same input."""
    try:
        recorded = json.loads((out / JOURNAL / SETTINGS).read_text("utf-8"))["inputs"]
        known = {_place(text): text for text in recorded}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return list(inputs)  # opening the folder will report the error
    return [text if text in recorded else known.get(_place(text), text) for text in inputs]


def _place(text: str) -> str:
    if text.startswith("s3://"):
        # prefixes are literal; only a whole bucket has two spellings
        return text if "/" in text.removeprefix("s3://") else f"{text}/"
    return str(Path(text).resolve())
