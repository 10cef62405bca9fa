"""What the engine makes of one chunk of items."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pi10_classifier.abundance.track import Fixes
from pi10_classifier.errors import Failure
from pi10_classifier.instrument.names import Rows
from pi10_classifier.results.columns import Row
from pi10_classifier.results.feature_part import F16
from pi10_classifier.results.gallery import Picture


@dataclass(slots=True)
class ChunkResult:
    """The results of one chunk's items, in their order.

    unlike_training: as ``counts``, of the flagged images; None where the model cannot tell.
    groups: group -> images; None where groups are not wanted. features: of each row, float16 (D,),
    in the order of ``rows``; empty where they are not wanted.
    """

    inputs: int = 0
    skipped: int = 0
    rows: list[Row] = field(default_factory=list)
    features: list[F16] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    unlike_training: Counter[tuple[str, str, str]] | None = None
    groups: Counter[str] | None = None
    folders: dict[str, set[str]] = field(default_factory=dict)
    hits_misses: dict[str, Rows] = field(default_factory=dict)
    sidecars: dict[str, str] = field(default_factory=dict)
    backgrounds: dict[str, float] = field(default_factory=dict)
    fixes: dict[tuple[str, str], Fixes] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
