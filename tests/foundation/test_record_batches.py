"""Parts of a dataset as batches: also where parts differ in their columns."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq

from pi10_classifier.foundation.record_batches import (
    NO_TIME,
    codes,
    numbers,
    parts_of,
    record_batches,
    seconds,
)


def test_an_older_part_hides_no_column_of_the_others(tmp_path):
    times = pa.array([60, None], pa.timestamp("s", "UTC"))
    pq.write_table(pa.table({"label": ["a", None]}), tmp_path / "1.parquet")
    table = pa.table(
        {"size": pa.array([1.5, None], pa.float32()), "label": ["b", "a"], "at": times}
    )
    pq.write_table(table, tmp_path / "2.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "3.parquet")
    (tmp_path / ".4.parquet").write_bytes(b"being written")
    assert len(parts_of(tmp_path)) == 3
    old, new = record_batches(tmp_path, ("size", "label", "at"), ("label", "bin"))
    names, places = codes(old, "label")
    assert [names[place] for place in places] == ["a", ""]
    assert all(math.isnan(value) for value in numbers(old, "size"))
    assert seconds(old, "at").tolist() == [NO_TIME] * 2
    names, places = codes(new, "label")
    assert [names[place] for place in places] == ["b", "a"]
    assert numbers(new, "size")[0] == 1.5 and math.isnan(numbers(new, "size")[1])
    assert seconds(new, "at").tolist() == [60, NO_TIME]
    assert codes(new, "bin")[0] == [""]


def test_a_folder_without_parts_has_no_batches(tmp_path):
    assert list(record_batches(tmp_path, ("label",), ())) == []
