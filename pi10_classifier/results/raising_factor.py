"""Writes the raising factor of each particle into the parts, once whole minutes are known.

A minute's factor depends on all its images, which may be in several parts. An archive counts as a
complete bin, so its part is published with its factors. At the end of a run, parts with other
factors are rewritten. The same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pi10_classifier.abundance.track import Place
from pi10_classifier.foundation.files import atomic_path, write_atomically
from pi10_classifier.results.factor_column import Factors, fill
from pi10_classifier.results.run_folder import RunFolder, UnitRecord, entry_bytes
from pi10_classifier.results.tables import JournalSums, minute_of, rows_of


def factors_of(record: UnitRecord, classes: Sequence[str]) -> Factors:
    """The factors of an archive, which holds its bins completely."""
    if not record.hits_misses:
        return []
    entry = record.to_json()
    sums = JournalSums()
    sums.take({**entry, "fixes": []})  # positions change no factor
    rows = rows_of(sums, classes[:1], [])
    return _of_entry(entry, {(r.bin, r.minute): r.raising_factor for r in rows})


def write_factors(folder: RunFolder, factors: Mapping[Place, float]) -> list[str]:
    """Update the column in all parts; returns the units whose parts were rewritten.

    factors: (bin, minute) -> factor, if it has one. Raises OutputError.
    """
    written = []
    for entry in list(folder.entries()):
        factors_of_entry = _of_entry(entry, factors)
        if factors_of_entry != entry["factors"]:
            _rewrite(folder, {**entry, "factors": factors_of_entry})
            written.append(str(entry["unit"]))
    return written


def _of_entry(entry: dict[str, Any], factors: Mapping[Place, float | None]) -> Factors:
    minutes = sorted({(bin_id, minute) for bin_id, minute, *_ in entry["counts"]})
    known = ((place, factors.get((place[0], minute_of(place[1])))) for place in minutes)
    return [[*place, factor] for place, factor in known if factor is not None]


def _rewrite(folder: RunFolder, entry: dict[str, Any]) -> None:
    final, journal = folder.paths_of(entry["unit"])
    with atomic_path(final) as temporary:
        fill(final, temporary, entry["factors"])
        entry["part_bytes"] = temporary.stat().st_size
        # entry first, as in publishing: after a kill the unit is done again
        final.unlink()
        write_atomically(journal, entry_bytes(entry))
