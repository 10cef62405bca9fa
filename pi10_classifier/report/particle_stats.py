"""What the report needs of ``predictions.parquet``: sums, histograms and a thinned track.

Parts are read as a stream, so a hundred million particles take no more memory than a thousand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.record_batches import NO_TIME, numbers, record_batches
from pi10_classifier.foundation.record_batches import codes as codes_of
from pi10_classifier.foundation.record_batches import seconds as seconds_of
from pi10_classifier.report.density_series import Ints, split_flags
from pi10_classifier.report.spectrum import Spectra

MAX_POSITIONS = 20_000
MAX_KEPT_NAMES = 1000
SIZE_LOW, SIZE_DECADES, PER_DECADE = 1.0, 4, 100  # 10 µm to 10 cm
SIZE_BINS = SIZE_DECADES * PER_DECADE


@dataclass(slots=True)
class ClassSums:
    label: str
    images: int = 0
    score_sum: float = 0.0
    scored: int = 0
    sizes: Ints = field(default_factory=lambda: np.zeros(SIZE_BINS, np.int64))

    def size_at(self, share: float) -> float:
        """The diameter in µm that ``share`` of the measured particles do not exceed."""
        below = np.r_[0, np.cumsum(self.sizes)]
        place = float(np.interp(share * below[-1], below, np.arange(SIZE_BINS + 1)))
        return float(10 ** (SIZE_LOW + place / PER_DECADE))


@dataclass(slots=True)
class ImageSums:
    """Sums over the rows of ``predictions.parquet``."""

    classes: dict[str, ClassSums]
    rows: int = 0
    sources: set[str] = field(default_factory=set)
    instruments: set[str] = field(default_factory=set)
    flags: Counter[str] = field(default_factory=Counter)
    first: int | None = None  # seconds since 1970
    last: int | None = None
    fixes: int = 0
    stride: int = 1  # minutes between kept positions; doubles as they become too many
    track: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, batch: Any) -> None:
        self.rows += batch.num_rows
        names, codes = codes_of(batch, "label")
        classes = [self.classes.setdefault(x, ClassSums(x)) for x in names]
        score, esd = numbers(batch, "score"), numbers(batch, "esd_um")
        scored = np.isfinite(score)
        sized = np.isfinite(esd) & (esd > 0)
        place = np.zeros(len(esd), np.int64)
        place[sized] = np.floor((np.log10(esd[sized]) - SIZE_LOW) * PER_DECADE)
        place = codes * SIZE_BINS + np.clip(place, 0, SIZE_BINS - 1)
        wide = len(names)
        images = np.bincount(codes, minlength=wide)
        sums = np.bincount(codes[scored], score[scored], wide)
        counted = np.bincount(codes[scored], minlength=wide)
        sizes = np.bincount(place[sized], minlength=wide * SIZE_BINS).reshape(wide, SIZE_BINS)
        for i, entry in enumerate(classes):
            entry.images += int(images[i])
            entry.score_sum += float(sums[i])
            entry.scored += int(counted[i])
            entry.sizes += sizes[i]
        for kept, column in ((self.sources, "source"), (self.instruments, "instrument")):
            if len(kept) <= MAX_KEPT_NAMES:
                kept.update(x for x, n in _tally(batch, column) if x)
        for text, n in _tally(batch, "flags"):
            self.flags.update(dict.fromkeys(split_flags(text), n))
        self._add_track(batch)

    def _add_track(self, batch: Any) -> None:
        seconds = seconds_of(batch, "datetime")
        # a clock that was never set shapes neither the dates nor the track
        known = (seconds != NO_TIME) & ~_off_clock(batch)
        if known.any():
            first, last = int(seconds[known].min()), int(seconds[known].max())
            self.first = first if self.first is None else min(first, self.first)
            self.last = last if self.last is None else max(last, self.last)
        latitude, longitude = numbers(batch, "latitude"), numbers(batch, "longitude")
        fixed = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360)  # false for NaN
        self.fixes += int(fixed.sum())
        # Images without a time share one place, before all others.
        minutes = np.where(known, seconds // 60, -1)[fixed]
        minutes, at = np.unique(minutes, return_index=True)
        for minute, i in zip(minutes.tolist(), np.flatnonzero(fixed)[at], strict=True):
            if minute % self.stride == 0 or minute < 0:
                self.track.setdefault(minute, (float(latitude[i]), float(longitude[i])))
        while len(self.track) > MAX_POSITIONS:
            self.stride *= 2
            self.track = {k: v for k, v in self.track.items() if k % self.stride == 0 or k < 0}


def _off_clock(batch: Any) -> Any:
    """Rows whose time lies outside the bin that their name tells."""
    names, codes = codes_of(batch, "flags")
    return np.array(["clock_outside_bin" in split_flags(text) for text in names], bool)[codes]


def _tally(batch: Any, name: str) -> list[tuple[str, int]]:
    names, codes = codes_of(batch, name)
    return list(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))


def read_images(folder: Path, labels: list[str], spectra: Spectra) -> ImageSums:
    """Sums over all particles; ``spectra`` takes them as well."""
    import pyarrow as pa

    images = ImageSums({x: ClassSums(x) for x in labels})
    texts = ("label", "source", "instrument", "flags", "bin")
    wanted = (*texts, "score", "datetime", "latitude", "longitude", "esd_um")
    try:
        for batch in record_batches(folder, wanted, texts):
            images.add(batch)
            spectra.add(batch)
    except (pa.ArrowException, OSError) as error:
        raise SettingError(
            f"cannot read {folder}: {error}; remove the damaged part and classify with --resume"
        ) from error
    return images
