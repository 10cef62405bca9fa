"""Reads the features of a run, and which particles of it they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.embedding.embed import embedded_run
from pi10_classifier.errors import SettingError
from pi10_classifier.instrument.names import NO_PARTICLE
from pi10_classifier.labelling.suggestions import Suggestion
from pi10_classifier.results.feature_part import COLUMN, F16, FEATURES
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.run_info import read_run

SORTED = "sorted"  # why a particle stands among the suggestions
_COLUMNS = ("particle_id", "source", "member", "label", "bin", "datetime")

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Particles:
    """Particles of a run with their features.

    places: where each stands in the run. features: float16 (N, D), as the network gave them.
    model: its name and version. model_sha256: of the graph that ran. all: particles of the run with
    a picture of something. repeated: left out, as another particle of the run has the same id.
    """

    places: tuple[Suggestion, ...]
    features: F16
    model: str
    model_sha256: str
    all: int
    repeated: int


def read_particles(run: Path, most: int, *, seed: int = 0) -> Particles:
    """At most ``most`` particles of a run, a random choice where it has more.

    The same run and seed give the same choice. Images that show no particle are left out. Raises
    SettingError where there are no features, or where they are not of the run's particles.
    """
    home = embedded_run(run)
    parts = sorted((run / PREDICTIONS).glob("*.parquet"))
    ids, blank = _ids_of(parts)
    _check_same(run, home, parts, ids)
    flat = np.concatenate([*ids, np.empty(0, object)])
    shown = np.flatnonzero(~np.concatenate([*blank, np.empty(0, bool)]))
    _, first = np.unique(flat[shown].astype(str), return_index=True)
    single = shown[np.sort(first)]
    order = np.random.default_rng(seed).permutation(len(single))[:most]
    chosen = np.sort(single[order])
    begins = np.cumsum([0, *(len(names) for names in ids)])
    places: list[Suggestion] = []
    features: list[F16] = []
    for number, part in enumerate(parts):
        here = chosen[(chosen >= begins[number]) & (chosen < begins[number + 1])] - begins[number]
        if len(here):
            places.extend(_places(part, here, len(places)))
            features.append(read_features(home / FEATURES / part.name, here))
    if not features:
        raise SettingError(f"{run} has no image that shows a particle")
    model = read_run(home)["model"]
    return Particles(
        tuple(places), np.concatenate(features), f"{model['name']} {model['version']}",
        model["sha256"], len(shown), len(shown) - len(single),
    )  # fmt: skip


def _ids_of(parts: Sequence[Path]) -> tuple[list[NDArray[Any]], list[NDArray[np.bool_]]]:
    """Of each part: the particle_ids, and which rows show no particle."""
    ids, blank = [], []
    for part in parts:
        table = _read(part, ["particle_id", "label"])
        ids.append(np.array(table["particle_id"].to_pylist(), object))
        blank.append(np.array([label == NO_PARTICLE for label in table["label"].to_pylist()], bool))
    return ids, blank


def _check_same(run: Path, home: Path, parts: Sequence[Path], ids: Sequence[NDArray[Any]]) -> None:
    for part, names in zip(parts, ids, strict=True):
        path = home / FEATURES / part.name
        if not path.is_file() or _read(path, ["particle_id"])["particle_id"].to_pylist() != [
            *names
        ]:
            raise SettingError(
                f"the features in {home} are not of the particles of {run} ({part.name}): the run"
                f" or its inputs changed since; make them again: pi10 embed {run} --overwrite"
            )


def _places(part: Path, rows: I64, first: int) -> list[Suggestion]:
    lines = _read(part, list(_COLUMNS)).take(rows).to_pylist()
    return [
        Suggestion(
            order=first + number, particle_id=line["particle_id"], why=SORTED, value=0.0,
            predicted=line["label"], source=line["source"], member=line["member"],
            bin=line["bin"] or "",
            datetime=f"{line['datetime']:%Y-%m-%dT%H:%M:%SZ}" if line["datetime"] else "",
            part=part.stem, row=row,
        )
        for number, (row, line) in enumerate(zip(rows.tolist(), lines, strict=True))
    ]  # fmt: skip


def read_features(path: Path, rows: I64) -> F16:
    """Rows of one part: float16 (n, D). rows: ascending. Raises SettingError."""
    import pyarrow.parquet as pq

    taken: list[F16] = []
    try:
        with pq.ParquetFile(path) as file:
            begin = 0
            for group in range(file.num_row_groups):
                column = file.read_row_group(group, columns=[COLUMN])[COLUMN].combine_chunks()
                size = column.type.list_size
                table = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
                here = rows[(rows >= begin) & (rows < begin + len(table))] - begin
                taken.append(table[here])
                begin += len(table)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error
    return np.concatenate(taken)


def _read(path: Path, columns: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(columns))
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SettingError:
    return SettingError(f"{path} cannot be read ({error}); make it again: pi10 embed … --resume")
