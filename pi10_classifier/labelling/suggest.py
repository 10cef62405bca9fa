"""Particles whose labels would teach a model most: a list apart from the probability sample.

A third each (a half where the run has no column ``novelty``):

uncertain: the two best scores lie near each other (the margin; Scheffer et al. 2001). Of the ten
times as many with the least margin those are taken that differ most from one another, so that no
one look-alike fills the list (Citovsky et al. 2021, arXiv 2107.14263).
novel: the same by the highest ``novelty``.
typical-of-cluster: one for each cluster of a random part of the run, nearest to its centre (Nguyen
and Smeulders 2004), which labels the common kinds once.

Labels of suggested particles say nothing of how common a class is, so no estimate uses them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_records
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.draw import IDENTITY
from pi10_classifier.labelling.labelled import sample_of
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.sample import make_folder
from pi10_classifier.labelling.suggestions import SUGGESTIONS, Suggestion, read_suggestions
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.stored_rows import rows_at

UNCERTAIN, NOVEL, TYPICAL = "uncertain", "novel", "typical-of-cluster"
NOVELTY = "novelty"
MOST = 5_000
_POOL = 10  # candidates for each particle that is taken
_LEAST_POOL = 200
_MOST_POOL = 30_000
_LEAST_RANDOM = 5_000  # particles that clusters are made of
_SIZES = ("esd_um", "major_um", "minor_um", "solidity", "mean_grey")
_LOGARITHMIC = frozenset({"esd_um", "major_um", "minor_um"})

F64 = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Parts read and parts in all."""


class _Pool:
    """The candidates of highest value met so far: values, places and features, bound in number."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._least = -np.inf
        self._held: list[tuple[F64, NDArray[np.int64], F64]] = []
        self._count = 0

    def add(self, values: F64, places: NDArray[np.int64], features: F64) -> None:
        keep = values > self._least
        if keep.any():
            self._held.append((values[keep], places[keep], features[keep]))
            self._count += int(keep.sum())
        if self._count > 4 * self._size:
            self._prune()

    def _prune(self) -> None:
        values, places, features = (np.concatenate(part) for part in zip(*self._held, strict=True))
        order = np.argsort(-values, kind="stable")[: self._size]
        self._held = [(values[order], places[order], features[order])]
        self._count = len(order)
        if len(order) == self._size:
            self._least = float(values[order[-1]])

    def candidates(self) -> tuple[F64, NDArray[np.int64], F64]:
        """Values (N,), places (N, 2) as part and row, features (N, D), best first."""
        if not self._held:
            return np.zeros(0), np.zeros((0, 2), np.int64), np.zeros((0, 0))
        self._prune()
        return self._held[0]


def suggest(
    run: Path,
    size: int,
    *,
    seed: int = 0,
    progress: Progress = lambda done, parts: None,
) -> list[Suggestion]:
    """Write ``run/validation/suggestions.csv``: ``size`` particles, in one pass over the parts.

    Particles of the probability sample, labelled ones, and images that show none are left out.
    Suggestions of before that have a label stay in the file, after the new ones, so that their
    pixels can still be found. The same run, seed and labels give the same list. Raises
    SettingError or OutputError.
    """
    if not 1 <= size <= MOST:
        raise SettingError(f"--n is {size}; it must be 1 to {MOST:,}")
    parts = sorted((run / PREDICTIONS).glob("*.parquet"))
    if not parts:
        raise SettingError(f"{run} holds no predictions; give the --out of a finished classify")
    labelled = {label.particle_id for label in LabelStore(run, ()).read()}
    taken = labelled | {particle.particle_id for particle in sample_of(run)}
    pools = _read(parts, size, seed, taken, progress)
    chosen = _chosen(pools, size, seed)
    kept = [entry for entry in read_suggestions(run) if entry.particle_id in labelled]
    fresh = [_suggestion(order, *entry, parts) for order, entry in enumerate(_lines(parts, chosen))]
    write_records(make_folder(run) / SUGGESTIONS, Suggestion, [*fresh, *kept], option="")
    return fresh


def _read(
    parts: Sequence[Path], size: int, seed: int, taken: Collection[str], progress: Progress
) -> dict[str, _Pool]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    room = min(max(_POOL * size, _LEAST_POOL), _MOST_POOL)
    pools = {
        UNCERTAIN: _Pool(room),
        NOVEL: _Pool(room),
        TYPICAL: _Pool(max(room, _LEAST_RANDOM)),
    }
    names = pa.array(sorted(taken), pa.string())
    rng = np.random.default_rng(seed)
    for number, part in enumerate(parts):
        first = 0
        with pq.ParquetFile(part) as file:
            columns_held = file.schema_arrow.names
            scores = [name for name in columns_held if name.startswith("score_")]
            sizes = [name for name in _SIZES if name in columns_held]
            more = [NOVELTY] if NOVELTY in columns_held else []
            columns = ["particle_id", "label", *scores, *sizes, *more]
            for batch in file.iter_batches(2**16, columns=columns):
                free = pc.invert(pc.is_in(batch.column("particle_id"), value_set=names))
                seen = pc.and_(free, pc.not_equal(batch.column("label"), NO_PARTICLE))
                rows = np.flatnonzero(seen.to_numpy(zero_copy_only=False).astype(bool))
                places = np.stack([np.full(len(rows), number), rows + first], axis=1)
                p = np.stack([_numbers(batch, name)[rows] for name in scores], axis=1)
                features = np.concatenate(
                    [p, np.stack([_size(batch, name)[rows] for name in sizes], axis=1)], axis=1
                ) if sizes else p  # fmt: skip
                best = np.sort(p, axis=1)
                pools[UNCERTAIN].add(best[:, -2] - best[:, -1], places, features)
                pools[TYPICAL].add(rng.random(len(rows)), places, features)
                if more:
                    value = _numbers(batch, NOVELTY)[rows]
                    known = np.isfinite(value)
                    pools[NOVEL].add(value[known], places[known], features[known])
                first += batch.num_rows
        progress(number + 1, len(parts))
    return pools


def _numbers(batch: Any, name: str) -> F64:
    column = batch.column(name).to_numpy(zero_copy_only=False)
    return np.asarray(column, np.float64)


def _size(batch: Any, name: str) -> F64:
    values = _numbers(batch, name)
    return np.log(np.maximum(values, 1.0)) if name in _LOGARITHMIC else values


Chosen = tuple[str, float, int, int]
"""Why, value, part, row."""


def _chosen(pools: dict[str, _Pool], size: int, seed: int) -> list[Chosen]:
    """The particles taken, the reasons in turns; no particle twice."""
    values, places, features = pools[TYPICAL].candidates()
    if not len(values):
        return []
    middle, spread = _scale(features)
    reasons = [why for why in (UNCERTAIN, NOVEL, TYPICAL) if len(pools[why].candidates()[0])]
    lists: dict[str, list[Chosen]] = {}
    taken: set[tuple[int, int]] = set()
    for number, why in enumerate(reasons):
        share = size // len(reasons) + (number < size % len(reasons))
        values, places, features = pools[why].candidates()
        free = np.array([tuple(place) not in taken for place in places.tolist()], bool)
        values, places = values[free], places[free]
        standard = np.nan_to_num((features[free] - middle) / spread)
        if why == TYPICAL:
            rows, worth = _central(standard, share, seed)
        else:
            rows = _spread_out(standard, share)
            worth = np.abs(values[rows])  # the margin is held as a negative number
        lists[why] = [
            (why, float(value), int(places[row, 0]), int(places[row, 1]))
            for row, value in zip(rows.tolist(), worth.tolist(), strict=True)
        ]
        taken.update((part, row) for _, _, part, row in lists[why])
    turns = sorted(
        ((place + 0.5) / len(entries), reasons.index(why), entry)
        for why, entries in lists.items()
        for place, entry in enumerate(entries)
    )
    return [entry for _, _, entry in turns]


def _scale(features: F64) -> tuple[F64, F64]:
    """Middle and spread (D,) of each feature, of those particles that have it."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    middle = np.where(known, features, 0).sum(axis=0) / count
    variance = (np.where(known, features - middle, 0) ** 2).sum(axis=0) / count
    return middle, np.sqrt(np.maximum(variance, 1e-12))


def _spread_out(x: F64, count: int) -> NDArray[np.int64]:
    """Rows that lie far from one another, the first being row 0 (Gonzalez 1985, k-center)."""
    if not len(x):
        return np.zeros(0, np.int64)
    rows = [0]
    distance = ((x - x[0]) ** 2).sum(axis=1)
    while len(rows) < min(count, len(x)):
        distance[rows[-1]] = -1.0  # taken, also where all that is left is alike
        rows.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[rows[-1]]) ** 2).sum(axis=1))
        distance[rows] = -1.0
    return np.array(rows, np.int64)


def _central(x: F64, count: int, seed: int) -> tuple[NDArray[np.int64], F64]:
    """The row nearest to the centre of each of ``count`` clusters (k-means++), largest first.

    Also the share of the rows in its cluster.
    """
    from scipy.cluster.vq import kmeans2

    if not len(x):
        return np.zeros(0, np.int64), np.zeros(0)
    seeds = _seeds(x, count, np.random.default_rng(seed))
    clusters = len(seeds)
    with warnings.catch_warnings():
        # a cluster may lose all its particles to others, and then gives none
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        centres, label = kmeans2(x, seeds, iter=10, minit="matrix")
    distance = ((x - centres[label]) ** 2).sum(axis=1)
    number = np.bincount(label, minlength=clusters)
    rows = []
    for cluster in np.argsort(-number, kind="stable").tolist():
        members = np.flatnonzero(label == cluster)
        if len(members):
            rows.append((int(members[distance[members].argmin()]), number[cluster] / len(x)))
    return np.array([row for row, _ in rows], np.int64), np.array([share for _, share in rows])


def _lines(parts: Sequence[Path], chosen: Sequence[Chosen]) -> list[tuple[Chosen, dict[str, Any]]]:
    places = [(part, row) for _, _, part, row in chosen]
    lines = rows_at(dict(enumerate(parts)), places, IDENTITY)
    return [(entry, lines[entry[2], entry[3]]) for entry in chosen]


def _suggestion(
    order: int, entry: Chosen, line: dict[str, Any], parts: Sequence[Path]
) -> Suggestion:
    why, value, part, row = entry
    when = line["datetime"]
    return Suggestion(
        order=order, particle_id=line["particle_id"], why=why, value=value,
        predicted=line["label"], source=line["source"], member=line["member"],
        bin=line["bin"] or "", datetime=f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else "",
        part=parts[part].stem, row=row,
    )  # fmt: skip


def _seeds(x: F64, count: int, rng: np.random.Generator) -> F64:
    """First centres, each drawn by its squared distance to those before (k-means++).

    SciPy's own seeding compares with all centres anew each time, which takes minutes for 1,000.
    """
    rows = [int(rng.integers(len(x)))]
    distance = ((x - x[rows[0]]) ** 2).sum(axis=1)
    while len(rows) < count and distance.sum() > 0:
        rows.append(int(rng.choice(len(x), p=distance / distance.sum())))
        distance = np.minimum(distance, ((x - x[rows[-1]]) ** 2).sum(axis=1))
    return x[rows]
