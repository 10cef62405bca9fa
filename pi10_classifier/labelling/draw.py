"""``pi10 validate draw``: a probability sample of a run's particles, in one pass over its parts.

Memory is bound by the size of the sample, not by the run: of each stratum and predicted class only
the particles that may still be drawn are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.abundance.prediction_powered import log_odds
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import sha256
from pi10_classifier.labelling.design import F64, allocate, priorities, taken
from pi10_classifier.labelling.sample import (
    DESIGN,
    FOLDER,
    SAMPLE,
    SCORE,
    Design,
    Drawn,
    Moments,
    Totals,
    make_folder,
    strata_of,
    write_sample,
)
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.stored_rows import rows_at

MOST_LABELS = 100_000
IDENTITY = ("particle_id", "source", "member", "bin", "datetime", "label")
READ = ("label", "bin", "raising_factor", "model_sha256")

Progress = Callable[[int, int], None]
"""Parts read and parts in all."""


class _Candidates:
    """The particles of a stratum and predicted class that may still be drawn.

    moments: (2, columns) of the log-odds of all of them, as of ``Moments``.
    """

    def __init__(self, size: int, columns: int) -> None:
        self._size = size
        self._kept: NDArray[Any] = np.zeros(
            0, [("rank", "f8"), ("factor", "f8"), ("part", "i4"), ("row", "i8")]
        )
        self._limit = np.inf  # a rank above it is not drawn by chance
        self._large = 0.0  # a factor below it is not drawn for certain
        self.totals = Totals()
        self.moments: F64 = np.zeros((2, columns))

    def add(
        self, part: int, rows: NDArray[np.int64], ranks: F64, factors: F64, odds: F64
    ) -> None:  # odds: (columns, N)
        totals = self.totals
        self.moments += (odds @ factors, (odds * odds) @ factors)
        totals.particles += len(rows)
        totals.raised += float(factors.sum())
        totals.variance += float((factors * factors).sum())
        totals.largest = max(totals.largest, float(factors.max(initial=0.0)))
        some = (ranks < self._limit) | (factors > self._large)
        more = np.zeros(int(some.sum()), self._kept.dtype)
        more["rank"], more["factor"], more["row"] = ranks[some], factors[some], rows[some]
        more["part"] = part
        self._kept = np.concatenate([self._kept, more])
        if len(self._kept) > 4 * self._size + 1024:
            self._prune()

    def _prune(self) -> None:
        if len(self._kept) <= self._size:
            return
        kept, size = self._kept, self._size
        self._limit = float(np.partition(kept["rank"], size - 1)[size - 1])
        large = np.partition(kept["factor"], len(kept) - size)[len(kept) - size]
        # where most factors are alike, those above them alone can be drawn for certain
        self._large = float(large)
        self._kept = kept[(kept["rank"] <= self._limit) | (kept["factor"] > self._large)]

    def drawn(self, wanted: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """By chance and for certain: entries of rank, factor, part, row."""
        kept = self._kept
        total = self.totals.raised
        chance, certain = taken(kept["rank"], kept["factor"], wanted, total)
        return kept[chance], kept[certain]


def draw(
    run: Path,
    size: int,
    *,
    seed: int = 0,
    by: str = "cruise",
    overwrite: bool = False,
    progress: Progress = lambda done, all_: None,
) -> tuple[Design, list[Drawn]]:
    """Draw ``size`` particles of each stratum and write the sample into ``run/validation``.

    by: "cruise", "day", "bin", or the path of a CSV of bin,stratum. The same seed and run give
    the same sample; a larger size adds to it. overwrite: leave labels out that an earlier sample
    got; they stay in ``labels.csv``. Raises SettingError or OutputError.
    """
    if not 1 <= size <= MOST_LABELS:
        raise SettingError(f"--n is {size}; it must be 1 to {MOST_LABELS:,}")
    parts = sorted((run / PREDICTIONS).glob("*.parquet"))
    if not parts:
        raise SettingError(f"{run} holds no predictions; give the --out of a finished classify")
    if not overwrite:
        _refuse_loss(run, size, seed, by)
    stratum_of = strata_of(by)
    found: dict[tuple[str, str], _Candidates] = {}
    design = Design(seed, size, by, "")
    classes = _scored(parts[0])
    for number, part in enumerate(parts):
        _scan(part, number, design, found, stratum_of, classes)
        progress(number + 1, len(parts))
    if not found:
        raise SettingError(
            f"no particle of {run} has a raising factor, so a sample says nothing of densities; "
            "classify bins with their HitsMisses.txt"
        )
    sample = _chosen(parts, found, design, classes)
    home = make_folder(run)
    write_sample(run, sample)
    design.sample_sha256 = sha256(home / SAMPLE)
    design.write(home / DESIGN)
    return design, sample


def _refuse_loss(run: Path, size: int, seed: int, by: str) -> None:
    """Labels that were given must not leave the sample unseen."""
    if not (run / FOLDER / DESIGN).is_file() or not (run / FOLDER / "labels.csv").is_file():
        return
    old = Design.read(run / FOLDER / DESIGN)
    changed = [
        f"{name} was {before!r}, is {now!r}"
        for name, before, now in (("--seed", old.seed, seed), ("--by", old.by, by))
        if before != now
    ]
    if size < old.size:
        changed.append(f"--n was {old.size}, is {size}")
    if changed:
        raise SettingError(
            f"{run} has labels of another sample: {'; '.join(changed)}. They would not be used: "
            "draw as before, with the same or a larger --n, or give --overwrite"
        )


def _scored(part: Path) -> list[str]:
    """The classes of the model whose scores a part has."""
    import pyarrow.parquet as pq

    names = pq.read_schema(part).names
    return [name.removeprefix(SCORE) for name in names if name.startswith(SCORE)]


def _scan(
    part: Path,
    number: int,
    design: Design,
    found: dict[tuple[str, str], _Candidates],
    stratum_of: Callable[[str], str | None],
    classes: Sequence[str],
) -> None:
    import pyarrow.parquet as pq

    rng = np.random.default_rng(_seed(design.seed, part.stem))
    first = 0
    with pq.ParquetFile(part) as file:
        columns = [*READ, *(f"{SCORE}{name}" for name in classes)]
        for batch in file.iter_batches(2**17, columns=columns):
            size = batch.num_rows
            u = 1.0 - rng.random(size)  # never 0
            _same_model(design, batch, part)
            labels, label_at = _codes(batch, "label")
            bins, bin_at = _codes(batch, "bin")
            factor = batch.column("raising_factor").to_numpy(zero_copy_only=False)
            known = np.isfinite(factor) & (factor > 0)
            odds = _odds(batch, classes)
            strata = [stratum_of(name or "") for name in bins]
            groups: dict[str, list[int]] = {}
            for place, stratum in enumerate(strata):
                if stratum is not None:
                    groups.setdefault(stratum, []).append(place)
            design.left_out += int(size - known.sum())
            for stratum, places in groups.items():
                here = known & np.isin(bin_at, places) if len(bins) > 1 else known
                for code, label in enumerate(labels):
                    rows = np.flatnonzero(here & (label_at == code))
                    if not len(rows):
                        continue
                    key = (stratum, label)
                    if key not in found:
                        found[key] = _Candidates(design.size, len(odds))
                    found[key].add(number, rows + first, priorities(u[rows], factor[rows]),
                                   factor[rows], odds[:, rows])  # fmt: skip
            first += size


def _odds(batch: Any, classes: Sequence[str]) -> F64:
    """The log-odds of the scores (classes, N); NaN where there are none."""
    if not classes:
        return np.zeros((0, batch.num_rows))
    columns = (batch.column(f"{SCORE}{name}") for name in classes)
    scores = np.stack([its.to_numpy(zero_copy_only=False) for its in columns])
    return log_odds(scores.astype(np.float64))


def _same_model(design: Design, batch: Any, part: Path) -> None:
    for model in batch.column("model_sha256").unique().to_pylist():
        if design.model_sha256 and design.model_sha256 != model:
            raise SettingError(
                f"{part.name} was classified with another model, or another graph of it (fp32,"
                " int8); draw from one run"
            )
        design.model_sha256 = model


def _codes(batch: Any, name: str) -> tuple[list[Any], NDArray[np.int64]]:
    column = batch.column(name).dictionary_encode()
    codes = column.indices.to_numpy(zero_copy_only=False)
    values = column.dictionary.to_pylist()
    if column.null_count:
        codes = np.where(np.isnan(codes), len(values), codes)
        values.append(None)
    return values, codes.astype(np.int64)


def _seed(seed: int, stem: str) -> int:
    """The seed of a part's random numbers, so that each particle keeps its own at every draw."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{stem}".encode()).digest()[:8])


def _chosen(
    parts: list[Path], found: Mapping[tuple[str, str], _Candidates], design: Design,
    scored: Sequence[str],
) -> list[Drawn]:  # fmt: skip
    entries = []
    for stratum in sorted({stratum for stratum, _ in found}):
        classes = {label: its for (name, label), its in sorted(found.items()) if name == stratum}
        wanted = allocate(
            {label: its.totals.raised for label, its in classes.items()},
            {label: its.totals.particles for label, its in classes.items()},
            design.size,
        )
        design.strata[stratum] = {label: its.totals for label, its in classes.items()}
        design.scores[stratum] = {
            label: {
                name: Moments(*moments)
                for name, moments in zip(scored, its.moments.T.tolist(), strict=True)
            }
            for label, its in classes.items()
            if scored and np.isfinite(its.moments).all()
        }
        for label, its in classes.items():
            its.totals.wanted = wanted[label]
            chance, certain = its.drawn(wanted[label])
            rest = its.totals.raised - float(certain["factor"].sum())
            for entry in certain:
                entries.append((0.0, stratum, label, entry, True, 1.0))
            for place, entry in enumerate(chance):
                # its place among those of its class, as a share: classes take turns in proportion
                turn = (place + 0.5) / len(chance)
                share = min(1.0, len(chance) * float(entry["factor"]) / rest)
                entries.append((turn, stratum, label, entry, False, share))
    entries.sort(key=lambda x: (x[0], x[1], x[2], int(x[3]["part"]), int(x[3]["row"])))
    places = [(int(x[3]["part"]), int(x[3]["row"])) for x in entries]
    columns = [*IDENTITY, *(f"{SCORE}{name}" for name in scored)]
    lines = rows_at(dict(enumerate(parts)), places, columns)
    sample = []
    for order, (_, stratum, label, entry, for_certain, probability) in enumerate(entries):
        part, row = int(entry["part"]), int(entry["row"])
        line = lines[part, row]
        when = line["datetime"]
        sample.append(
            Drawn(
                order=order,
                particle_id=line["particle_id"],
                stratum=stratum,
                predicted=label,
                source=line["source"],
                member=line["member"],
                bin=line["bin"] or "",
                datetime=f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else "",
                raising_factor=float(entry["factor"]),
                certain=for_certain,
                probability=probability,
                part=parts[part].stem,
                row=row,
                scores={
                    name: score for name in scored if (score := line[f"{SCORE}{name}"]) is not None
                },
            )
        )
    return sample
