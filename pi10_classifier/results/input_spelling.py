"""Inputs of a run that is gone on with, spelled as they were.

Units are known by their paths as they were given, and so are rows of the tables. The same
place by another spelling (``big/``, ``./big``, its absolute path) goes by the first one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pi10_classifier.results.run_folder import JOURNAL, SETTINGS


def spelled_as_before(inputs: Sequence[str], out: Path) -> list[str]:
    """``inputs``, each as the run in ``out`` has it where that is the same place."""
    try:
        said = json.loads((out / JOURNAL / SETTINGS).read_text("utf-8"))["inputs"]
        known = {_place(text): text for text in said}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return list(inputs)  # whoever opens the folder says what is wrong with it
    return [text if text in said else known.get(_place(text), text) for text in inputs]


def _place(text: str) -> str:
    if text.startswith("s3://"):
        # a prefix is literal: only the bucket as a whole has two spellings
        return text if "/" in text.removeprefix("s3://") else f"{text}/"
    return str(Path(text).resolve())
