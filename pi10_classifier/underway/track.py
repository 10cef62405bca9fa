"""The track as GeoJSON (RFC 7946) or GeoParquet 1.1: a point for each minute with a position.

Longitude comes first, in degrees of WGS 84 (OGC:CRS84), which both formats take where no other
reference system is named. A minute has its density of each class and, where ``pi10 underway`` has
joined them, the ship's readings.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.results.run_info import classes_of
from pi10_classifier.underway.minutes import Minute, minutes_of
from pi10_classifier.underway.table import Underway, read_underway

GEOJSON, GEOPARQUET = (".geojson", ".json"), (".parquet", ".geoparquet")
_BATCH = 8192
_FACTS = ("images", "raising_factor", "day_night", "quality_l20", "position_l20", "flags")


@dataclass(frozen=True, slots=True)
class TrackFile:
    """What was written. without_position: minutes that are left out for want of one."""

    path: Path
    points: int
    without_position: int


def write_track(run: Path, out: Path) -> TrackFile:
    """Write the track of a finished run; the ending of ``out`` chooses the format.

    Raises SettingError for another ending, an unfinished run, or a run without any position;
    OutputError where the file cannot be written.
    """
    suffix = out.suffix.lower()
    if suffix not in (*GEOJSON, *GEOPARQUET):
        raise SettingError(
            f"--out {out}: end the name in {GEOJSON[0]} for GeoJSON or {GEOPARQUET[0]} for "
            "GeoParquet"
        )
    points = _Points(run, classes_of(run), read_underway(run))
    with atomic_path(out) as temporary:
        if suffix in GEOJSON:
            _write_geojson(temporary, points)
        else:
            _write_geoparquet(temporary, points)
        if not points.count:
            raise SettingError(
                f"no minute of {run} has a position, so there is no track; the instrument writes "
                "(0, 0) where it has no fix"
            )
    return TrackFile(out, points.count, points.without)


class _Points:
    """Cells of each minute that has a position; count and without are known once all are read."""

    def __init__(self, run: Path, classes: Sequence[str], underway: Underway) -> None:
        self._path, self._underway = run / "counts.csv", underway
        self.densities = {f"per_litre_{label}": label for label in classes}
        taken = {"bin", "time", "geometry", *_FACTS, *self.densities}
        # a reading that bears the name of another column is told apart
        self.readings = {
            (f"underway_{name}" if name in taken else name): name for name in underway.variables
        }
        self.count = self.without = 0
        self.bounds: list[float] = []

    def __iter__(self) -> Iterator[tuple[float, float, dict[str, Any]]]:
        self.count = self.without = 0
        for minute in minutes_of(self._path):
            if minute.latitude is None or minute.longitude is None:
                self.without += 1
                continue
            self.count += 1
            east, north = minute.longitude, minute.latitude
            west, south, right, top = self.bounds or (east, north, east, north)
            self.bounds = [min(west, east), min(south, north), max(right, east), max(top, north)]
            yield east, north, self._cells(minute)

    def _cells(self, minute: Minute) -> dict[str, Any]:
        known = self._underway.by_minute.get((minute.bin, minute.time), {}) if minute.time else {}
        facts = (
            minute.images, minute.factor, minute.day_night, minute.l20, minute.position_l20,
            minute.flags,
        )  # fmt: skip
        return {
            "bin": minute.bin,
            "time": minute.time,
            **dict(zip(_FACTS, facts, strict=True)),
            **{name: minute.per_litre.get(label) for name, label in self.densities.items()},
            **{name: known.get(variable) for name, variable in self.readings.items()},
        }


def _write_geojson(path: Path, points: _Points) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for number, (east, north, cells) in enumerate(points):
            if cells["time"]:
                cells["time"] = f"{cells['time']:%Y-%m-%dT%H:%M:%SZ}"
            feature = {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [east, north]},
                "properties": cells,
            }
            stream.write(",\n" if number else "\n")
            stream.write(json.dumps(feature, ensure_ascii=False, allow_nan=False))
        stream.write("\n]}\n")


def _write_geoparquet(path: Path, points: _Points) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"images": pa.int64(), "raising_factor": pa.float64()}
    schema = pa.schema(
        [
            pa.field("geometry", pa.binary()),
            pa.field("bin", pa.string()),
            pa.field("time", pa.timestamp("ms", tz="UTC")),
            *(pa.field(name, kinds.get(name, pa.string())) for name in _FACTS),
            *(pa.field(name, pa.float64()) for name in (*points.densities, *points.readings)),
        ]
    )
    for _ in points:  # the bounds stand in the schema's metadata, where readers look for them
        pass
    schema = schema.with_metadata({"geo": json.dumps(_geo(points.bounds))})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for east, north, cells in points:
            rows.append({"geometry": struct.pack("<BIdd", 1, 1, east, north), **cells})
            if len(rows) == _BATCH:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _geo(bounds: Sequence[float]) -> dict[str, Any]:
    """The file's metadata by https://geoparquet.org/releases/v1.1.0/; bounds: W, S, E, N."""
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"]}
    if bounds:
        column["bbox"] = list(bounds)
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
