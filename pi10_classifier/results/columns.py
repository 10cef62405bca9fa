"""The columns of the predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pi10_classifier.results.factor_column import COLUMN

_TEXT_BEFORE = ("particle_id", "source", "member", "instrument", "bin")


_SIZES = (
    "area_um2",
    "esd_um",
    "major_um",
    "minor_um",
    "feret_um",
    "perimeter_um",
    "solidity",
    "mean_grey",
)


def columns(classes: Sequence[str]) -> list[str]:
    """The columns of the predictions table, in order."""
    return [
        *_TEXT_BEFORE,
        "datetime",
        "latitude",
        "longitude",
        "width_px",
        "height_px",
        "label",
        "score",
        *(f"score_{label}" for label in classes),
        *_SIZES,
        COLUMN,
        "flags",
        "model",
        "model_sha256",
    ]


_MEANINGS: dict[str, tuple[str, str]] = {
    "particle_id": ("", "instrument, bin and number; unique over cruises"),
    "source": ("", "the archive, folder or bucket prefix it came from"),
    "member": ("", "its name inside the source"),
    "instrument": ("", "from the name"),
    "bin": ("", "instrument and start (UTC) of the recording of up to ten minutes"),
    "datetime": ("UTC", "moment of capture, to a second"),
    "latitude": ("degrees_north", "WGS 84; empty without a fix"),
    "longitude": ("degrees_east", "WGS 84; empty without a fix"),
    "width_px": ("px", "width of the image"),
    "height_px": ("px", "height of the image"),
    "label": ("", "the class of the highest score; no_particle: the image shows none"),
    "score": ("1", "the label's score; empty for no_particle"),
    "area_um2": ("um2", "area of the silhouette"),
    "esd_um": ("um", "diameter of a circle of the silhouette's area"),
    "major_um": ("um", "major axis of the ellipse with the silhouette's second moments"),
    "minor_um": ("um", "minor axis of that ellipse"),
    "feret_um": ("um", "longest distance between two points of the silhouette"),
    "perimeter_um": ("um", "length of the outline"),
    "solidity": ("1", "area over the area of the convex hull"),
    "mean_grey": ("1", "mean luma inside, 0 to 255"),
    "raising_factor": (
        "1",
        "(hits + misses) / images of its minute: the particles in the water that the image stands "
        "for; empty where unknown",
    ),
    "flags": ("", "names of flags, ';' between"),
    "model": ("", "name of the model package"),
    "model_sha256": ("", "SHA-256 of the model package"),
}


def schema(classes: Sequence[str]) -> Any:
    """The Arrow schema of the predictions table; each field's metadata has unit and meaning."""
    import pyarrow as pa

    kinds: dict[str, Any] = {
        "datetime": pa.timestamp("s", tz="UTC"),
        "latitude": pa.float64(),
        "longitude": pa.float64(),
        "width_px": pa.int32(),
        "height_px": pa.int32(),
        "raising_factor": pa.float64(),
    }
    for name in ("score", *(f"score_{label}" for label in classes), *_SIZES):
        kinds[name] = pa.float32()
    fields = []
    for name in columns(classes):
        unit, meaning = _MEANINGS.get(name, ("1", f"the model's score of {name[6:]}, 0 to 1"))
        about = {"meaning": meaning} | ({"unit": unit} if unit else {})
        fields.append(pa.field(name, kinds.get(name, pa.string()), metadata=about))
    return pa.schema(fields)
