"""The columns of the predictions table: each is defined by one line of ``Row``.

The Arrow schema with its field metadata, the order of the cells, and the table in the documents
(``python -m pi10_classifier.results.columns``) are made from these lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NamedTuple, get_type_hints

from pi10_classifier.drift.quantities import CAMERA_COLUMNS

SCORES = "scores"  # the field of Row that is one column for each class
NOVELTY = "novelty"  # the field of Row that is a column only where the model package tells it
GROUP = "group"  # the field of Row that is a column only where it was asked for


class Row(NamedTuple):
    """One particle. Each field: type, Arrow type, unit (UDUNITS; "" for text), meaning."""

    # fmt: off
    particle_id: Annotated[str, "string", "", "instrument, bin and number, as `pia7.2024-06-24.1454+N00000000`; unique over cruises unless one bin was given twice, which the run warns of. For other names the member's path without its extension"]
    source: Annotated[str, "string", "", "the archive, folder or bucket prefix it came from"]
    member: Annotated[str, "string", "", "its name inside the source"]
    instrument: Annotated[str | None, "string", "", "from the name; empty if unknown"]
    bin: Annotated[str | None, "string", "", "instrument and start (UTC) of the recording of up to ten minutes, from the name; empty if unknown"]
    datetime: Annotated[datetime | None, "timestamp", "UTC", "moment of capture, to a second: the TIFF's DateTime; the instrument's clock is taken as UTC"]
    latitude: Annotated[float | None, "double", "degrees_north", "WGS 84; empty without a fix: the instrument writes (0, 0) then"]
    longitude: Annotated[float | None, "double", "degrees_east", "WGS 84; empty without a fix"]
    width_px: Annotated[int, "int32", "px", "width of the image"]
    height_px: Annotated[int, "int32", "px", "height of the image"]
    label: Annotated[str, "string", "", "the class of the highest score; `no_particle` where the image shows none"]
    score: Annotated[float | None, "float", "1", "the label's score; empty for `no_particle`"]
    scores: Annotated[tuple[float, ...], "float", "1", "the model's score of {}, 0 to 1; the scores of all classes sum to 1"]
    area_um2: Annotated[float | None, "float", "um2", "area of the silhouette; this and all sizes are empty where nothing stands out from the background"]
    esd_um: Annotated[float | None, "float", "um", "diameter of a circle of the silhouette's area"]
    major_um: Annotated[float | None, "float", "um", "major axis of the ellipse with the silhouette's second moments"]
    minor_um: Annotated[float | None, "float", "um", "minor axis of that ellipse"]
    eccentricity: Annotated[float | None, "float", "1", "of that ellipse: 0 for a circle, up to 1"]
    angle_deg: Annotated[float | None, "float", "degree", "from the image's rows to the major axis, counterclockwise, 0 to 180"]
    feret_um: Annotated[float | None, "float", "um", "longest distance between two points of the silhouette"]
    perimeter_um: Annotated[float | None, "float", "um", "length of the outline"]
    solidity: Annotated[float | None, "float", "1", "area over the area of the convex hull"]
    mean_grey: Annotated[float | None, "float", "1", "mean luma inside, 0 to 255"]
    grey_sd: Annotated[float | None, "float", "1", "standard deviation of the luma inside"]
    novelty: Annotated[float | None, "float", "1", "how unlike the model's training images it is: 0 is usual, above the model's threshold it is flagged `unlike_training`; empty for `no_particle`. The column is there only where the model package tells it"]
    group: Annotated[str | None, "string", "", "the most probable finer group within the class; empty for `no_particle`. The column is there only with `--groups`"]
    ground_grey: Annotated[int | None, "int32", "1", "median luma of the image's outermost pixels, 0 to 255: the ground. This column and the next three are there only with `--camera` or a reference"]
    ground_spread: Annotated[int | None, "int32", "1", "upper less lower quartile of the luma of the outermost pixels: how uneven the ground is"]
    ground_stripe: Annotated[float | None, "float", "1", "how much darker than the ground the darkest column is, in grey levels, by the lighter of its two ends: dirt on the line scan"]
    sharpness: Annotated[float | None, "float", "1", "the steepest rise of luma over two pixels, as a share of the image's range, 0 to 1"]
    raising_factor: Annotated[float | None, "double", "1", "(hits + misses) / images of its minute: the particles in the water that the image stands for; empty where unknown. `pi10 watch` fills it in when it ends, `pi10 oscar batch` when it merges"]
    flags: Annotated[str, "string", "", "names of flags, `;` between"]
    model: Annotated[str, "string", "", "name of the model package"]
    model_sha256: Annotated[str, "string", "", "SHA-256 of the graph that ran, `model.onnx` or `model.int8.onnx`: one model has a hash for each"]
    # fmt: on


def by_column(
    rows: Sequence[Row], *, novelty: bool = False, groups: bool = False, camera: bool = False
) -> Iterator[Sequence[Any]]:
    """The cells of one or more rows, column by column in the order of ``columns``."""
    absent = _absent(novelty, groups, camera)
    for name, cells in zip(Row._fields, zip(*rows, strict=True), strict=True):
        if name == SCORES:
            yield from zip(*cells, strict=True)
        elif name not in absent:
            yield cells


def by_row(
    rows: Sequence[Row], *, novelty: bool = False, groups: bool = False, camera: bool = False
) -> list[Any]:
    """The cells of each row, a tuple in the order of ``columns``."""
    return (
        list(zip(*by_column(rows, novelty=novelty, groups=groups, camera=camera), strict=True))
        if rows
        else []
    )


def _absent(novelty: bool, groups: bool, camera: bool) -> set[str]:
    """The fields that this table has no column for."""
    absent = {name for name, wanted in ((NOVELTY, novelty), (GROUP, groups)) if not wanted}
    return absent if camera else absent.union(CAMERA_COLUMNS)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table. unit: UDUNITS, "" for text."""

    name: str
    type: str
    unit: str
    meaning: str


@cache
def _fields() -> tuple[Column, ...]:
    hints = get_type_hints(Row, include_extras=True)
    return tuple(Column(name, *hints[name].__metadata__) for name in Row._fields)


def all_columns(
    classes: Sequence[str], *, novelty: bool = False, groups: bool = False, camera: bool = False
) -> Iterator[Column]:
    """The columns of a table with these classes, in order.

    novelty, groups, camera: with the column novelty, with group, and with those of the camera.
    """
    absent = _absent(novelty, groups, camera)
    for column in _fields():
        if column.name == SCORES:
            for label in classes:
                meaning = column.meaning.format(label)
                yield Column(f"score_{label}", column.type, column.unit, meaning)
        elif column.name not in absent:
            yield column


def columns(
    classes: Sequence[str], *, novelty: bool = False, groups: bool = False, camera: bool = False
) -> list[str]:
    """The names of the columns, in order."""
    return [
        column.name
        for column in all_columns(classes, novelty=novelty, groups=groups, camera=camera)
    ]


def schema(
    classes: Sequence[str], *, novelty: bool = False, groups: bool = False, camera: bool = False
) -> Any:
    """The Arrow schema of the predictions table; each field's metadata has unit and meaning."""
    import pyarrow as pa

    kinds = {
        "string": pa.string(),
        "timestamp": pa.timestamp("s", tz="UTC"),
        "double": pa.float64(),
        "float": pa.float32(),
        "int32": pa.int32(),
    }
    fields = []
    for column in all_columns(classes, novelty=novelty, groups=groups, camera=camera):
        about = {"meaning": column.meaning} | ({"unit": column.unit} if column.unit else {})
        fields.append(pa.field(column.name, kinds[column.type], metadata=about))
    return pa.schema(fields)


def document() -> str:
    """The table of columns in ``docs/results.md``."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in all_columns(["<class>"], novelty=True, groups=True, camera=True):
        lines.append(f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
