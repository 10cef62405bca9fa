"""The raising factor of each particle, written into the parts once whole minutes are known.

A minute's factor takes all its images, and these may lie in several parts. An archive is taken
for whole, so its part is published with its factors; at the end of a run every part that other
factors belong to is written anew. The same inputs give the same bytes.
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
    """The factors of an archive that holds all of its bins."""
    if not record.hits_misses:
        return []
    entry = record.to_json()
    found = JournalSums()
    found.take({**entry, "fixes": []})  # positions change no factor
    rows = rows_of(found, classes[:1], [])
    return _of_entry(entry, {(r.bin, r.minute): r.raising_factor for r in rows})


def write_factors(folder: RunFolder, factors: Mapping[Place, float]) -> list[str]:
    """Bring the column up to date in all parts; returns the units whose parts were written anew.

    factors: of each bin and minute that has one. Raises OutputError.
    """
    written = []
    for entry in list(folder.entries()):
        its = _of_entry(entry, factors)
        if its != entry["factors"]:
            _rewrite(folder, {**entry, "factors": its})
            written.append(str(entry["unit"]))
    return written


def _of_entry(entry: dict[str, Any], factors: Mapping[Place, float | None]) -> Factors:
    minutes = sorted({(bin_id, minute) for bin_id, minute, *_ in entry["counts"]})
    found = ((place, factors.get((place[0], minute_of(place[1])))) for place in minutes)
    return [[*place, factor] for place, factor in found if factor is not None]


def _rewrite(folder: RunFolder, entry: dict[str, Any]) -> None:
    final, journal = folder.paths_of(entry["unit"])
    with atomic_path(final) as temporary:
        fill(final, temporary, entry["factors"])
        entry["part_bytes"] = temporary.stat().st_size
        # as when it was published: were we killed in between, the unit is done again
        final.unlink()
        write_atomically(journal, entry_bytes(entry))
