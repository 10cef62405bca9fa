"""Counts of images in a reference's cells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pi10_classifier.drift.reference import CELLS, Reference
from pi10_classifier.drift.sums import Minutes, add, columns_of, count_images, from_json, to_json

WHEN = datetime(2024, 6, 24, 14, 50, 59, tzinfo=UTC)
NEXT = WHEN + timedelta(seconds=1)


def columns(**more: Any) -> dict[str, Any]:
    told = {
        "bin": ["a", "a", "a", None, "a"],
        "datetime": [WHEN, WHEN, NEXT, None, WHEN],
        "label": ["copepod", "copepod", "detritus", "noncopepod", "no_particle"],
        "ground_grey": [10, 35, None, 1, 1],
        "esd_um": [9.99, 10.0, 120.0, 1.0, 1.0],
    }
    return {**told, **more}


def test_each_image_is_in_its_minute_class_and_cell(reference: Reference) -> None:
    minutes = count_images(reference, columns())
    assert set(minutes) == {
        ("a", "2024-06-24T14:50:00Z"), ("a", "2024-06-24T14:51:00Z"), ("", ""),
    }  # fmt: skip
    first = minutes["a", "2024-06-24T14:50:00Z"]
    assert first[:, 0].tolist() == [2, 0, 0]  # the blank image is of no class
    # 10 is an edge, so above it; 9.99 is below
    assert first[0, 1 : 1 + CELLS].tolist()[:4] == [0, 1, 0, 1]
    assert first[0, 1 + CELLS :].tolist()[:4] == [1, 1, 0, 0]
    second = minutes["a", "2024-06-24T14:51:00Z"]
    assert second[1, 0] == 1 and not second[1, 1 : 1 + CELLS].any()  # its ground is unknown
    assert minutes["", ""][2].tolist() == [1] + [0] * 2 * CELLS  # a class without cells


def test_counts_of_parts_add_up_to_those_of_all(reference: Reference) -> None:
    whole = columns()
    parts: Minutes = {}
    for at in range(5):
        add(
            parts,
            count_images(reference, {name: cells[at : at + 1] for name, cells in whole.items()}),
        )
    assert to_json(parts) == to_json(count_images(reference, whole))


def test_json_keeps_counts(reference: Reference) -> None:
    minutes = count_images(reference, columns())
    again = from_json(reference, to_json(minutes))
    assert set(again) == set(minutes)
    assert all(np.array_equal(again[key], minutes[key]) for key in minutes)
    with pytest.raises(ValueError, match="counts of 2 classes; the reference has 3"):
        from_json(reference, [["a", "", [[], []]]])


def test_columns_are_those_of_the_quantities(reference: Reference) -> None:
    assert columns_of(reference) == ("bin", "datetime", "label", "ground_grey", "esd_um")
    assert count_images(reference, {name: [] for name in columns_of(reference)}) == {}
