"""Each column holds what its name says: no two of one type can be swapped unnoticed."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import support
from skimage.measure import label as labelled
from skimage.measure import regionprops

from pi10_classifier.classify import Settings, classify
from pi10_classifier.imaging.preprocess import prepare
from pi10_classifier.model.session import Model
from pi10_classifier.results.columns import all_columns, columns, document, schema
from pi10_classifier.simulate import encode_tiff

ROOT = Path(__file__).parents[2]
WHEN = datetime(2024, 6, 24, 14, 53, 20, tzinfo=UTC)
NAME = "RawImages\\pia7.2024-06-24.1450+N00000007.tif"
UM, SHADE = 10.0, 60


def hook() -> np.ndarray:
    """A hook of one shade: its lengths, diameters and outline all differ."""
    rgb = np.full((70, 90, 3), 240, np.uint8)
    rgb[15:23, 12:72] = SHADE
    rgb[15:58, 12:20] = SHADE
    return rgb


@pytest.fixture(scope="module")
def table(package: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The table of one image, with its bin's sidecar."""
    home = tmp_path_factory.mktemp("columns")
    rows = ["9,9"] * 10
    rows[3] = "1,6"
    members = {
        NAME: encode_tiff(hook(), WHEN, 50.25, -4.5),
        "HitsMisses.txt": "".join(f"{row}\n" for row in rows).encode(),
    }
    tar = support.write_tar(home / "1450.tar", members)
    classify([str(tar)], home / "out", Settings(model=package, jobs=1))
    return ds.dataset(home / "out/predictions.parquet").to_table()


def check(table: pa.Table, package: Path, source: str) -> None:
    """Each cell against what is known of the image by other means."""
    (row,) = table.to_pylist()
    rgb = hook()
    (shape,) = regionprops(labelled(rgb[..., 0] == SHADE))
    model = Model.load(package)
    image = prepare(rgb, model.package.preprocessing)[None]
    (scores,) = model.scores(image)
    expected = {
        "particle_id": "pia7.2024-06-24.1450+N00000007",
        "source": source,
        "member": NAME,
        "instrument": "pia7",
        "bin": "pia7.2024-06-24.1450",
        "datetime": WHEN,
        "latitude": pytest.approx(50.25, abs=1e-4),
        "longitude": pytest.approx(-4.5, abs=1e-4),
        "width_px": 90,
        "height_px": 70,
        "label": model.package.classes[int(np.argmax(scores))],
        "score": pytest.approx(float(max(scores)), abs=1e-4),
        "area_um2": pytest.approx(shape.area * UM**2, rel=0.1),
        "esd_um": pytest.approx(shape.equivalent_diameter_area * UM, rel=0.05),
        "major_um": pytest.approx(shape.axis_major_length * UM, rel=0.05),
        "minor_um": pytest.approx(shape.axis_minor_length * UM, rel=0.05),
        "eccentricity": pytest.approx(shape.eccentricity, abs=0.02),
        # scikit-image: from the rows downwards to the major axis, counterclockwise
        "angle_deg": pytest.approx(np.degrees(shape.orientation + np.pi / 2) % 180, abs=3),
        "feret_um": pytest.approx(shape.feret_diameter_max * UM, rel=0.05),
        "perimeter_um": pytest.approx(shape.perimeter * UM, rel=0.1),
        "solidity": pytest.approx(shape.solidity, rel=0.1),
        "mean_grey": pytest.approx(SHADE, abs=8),
        "grey_sd": pytest.approx(0, abs=25),
        "raising_factor": 7.0,
        "flags": "",
        "model": "tiny",
        "model_sha256": model.package.sha256,
    }
    for name, score in zip(model.package.classes, scores, strict=True):
        expected[f"score_{name}"] = pytest.approx(float(score), abs=1e-4)
    assert list(row) == columns(model.package.classes)
    for name, value in expected.items():
        assert row[name] == value, name
    assert len(expected) == len(row)


def test_each_column_holds_what_it_says(table: pa.Table, package: Path) -> None:
    check(table, package, table["source"][0].as_py())


def test_no_two_columns_of_a_type_can_be_swapped(table: pa.Table, package: Path) -> None:
    """The check above sees every swap; only a label's score is there twice."""
    source = table["source"][0].as_py()
    (row,) = table.to_pylist()
    twice = {"score", f"score_{row['label']}"}
    swapped = 0
    for one, other in itertools.combinations(table.schema, 2):
        if one.type != other.type or {one.name, other.name} == twice:
            continue
        names = {one.name: other.name, other.name: one.name}
        order = table.column_names
        changed = table.rename_columns([names.get(name, name) for name in order]).select(order)
        with pytest.raises(AssertionError):
            check(changed, package, source)
        swapped += 1
    assert swapped > 80


def test_the_document_is_made_of_the_columns() -> None:
    assert document() in (ROOT / "docs/results.md").read_text("utf-8")


def test_each_field_tells_unit_and_meaning(package: Path) -> None:
    classes = Model.load(package).package.classes
    for field, column in zip(schema(classes), all_columns(classes), strict=True):
        assert field.metadata[b"meaning"].decode() == column.meaning
        assert field.metadata.get(b"unit", b"").decode() == column.unit
        assert (column.unit == "") == (column.type == "string")


def test_names_are_names_in_r(package: Path) -> None:
    """So that ``table$esd_um`` works there without quoting."""
    for name in columns(Model.load(package).package.classes):
        assert re.fullmatch(r"[A-Za-z](\w|\.)*", name, re.ASCII), name
