"""What a reference may hold, and where it may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import support

from pi10_classifier.drift.reference import Reference, read_reference
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.model.package import read_package


def test_none_stays_none() -> None:
    assert Reference.from_dict(None) is None


def test_it_is_read_from_a_file_or_a_package(fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ref.json").write_text(json.dumps(fields))
    (tmp_path / "model.json").write_text(json.dumps({"name": "x", "reference": fields}))
    alone, packed = read_reference(tmp_path / "ref.json"), read_reference(tmp_path)
    assert alone == packed
    assert alone.names == ("ground", "size", "mix")
    assert alone.cells["copepod"]["ground"].ridits.tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.pop("mix"), "'mix' is missing"),
        (lambda f: f.update(format=2), "format is 2; this program reads 1"),
        (lambda f: f["mix"].update(copepod=0.9), "shares of mix sum to 1.4"),
        (lambda f: f["mix"].update(copepod=float("nan")), "no finite number"),
        (lambda f: f["quantities"].update(colour={}), "'colour' is no quantity"),
        (lambda f: f["quantities"]["ground"].update(mean="a"), "no finite number"),
        (lambda f: f["quantities"]["ground"]["classes"]["copepod"].update(edges=[3, 2, 1]),
         "edges must increase"),
        (lambda f: f["quantities"]["ground"]["classes"]["copepod"].update(edges=[1.0]),
         "1 edges and 4 shares"),
        (lambda f: f["quantities"]["ground"]["classes"].update(bubble={}), "'bubble' is not in"),
        (lambda f: f.update(quantities=3), "holds no reference"),
        (lambda f: f.update(mix_between=10**400), "holds no reference"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    fields: dict[str, Any], tmp_path: Path, change: Callable[[Any], Any], told: str
) -> None:
    change(fields)
    path = tmp_path / "ref.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(SettingError, match=told):
        read_reference(path)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", "[" * 100_000])
def test_what_is_no_reference_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ref.json"
    path.write_text(text)
    with pytest.raises(SettingError, match="make one by `pi10 export reference`"):
        read_reference(path)


@pytest.mark.parametrize("change", [{"mix": [0.5, 0.5]}, {"quantities": "ground"}])
def test_a_package_with_a_damaged_one_is_refused(
    fields: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = support.write_package(tmp_path / "damaged", reference=fields | change)
    with pytest.raises(ModelError, match="a field is missing or has a wrong type"):
        read_package(folder)
