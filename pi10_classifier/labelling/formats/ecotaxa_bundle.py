"""The sample as a bundle that EcoTaxa imports: a zip of one table and the pictures.

Rules read in EcoTaxa's own importer (ecotaxa_back, py/BO/TSVFile.py and Bundle.py): UTF-8 with a
mark at the beginning, or it is read as Latin-1; a line of names, then a line of types.
``acq_sub_part`` is left out: a sample drawn by class breaks the concentrations that EcoTaxa would
compute from it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.labelling.crops import Located, rows_of
from pi10_classifier.labelling.formats.given import picture_stem

_MOST_ID = 255  # characters of a VARCHAR
_MOST_TEXT = 250
_MEASURED = ("esd_um", "major_um", "minor_um", "feret_um", "perimeter_um", "solidity", "mean_grey")
_NUMBERS = (
    "img_rank", "object_lat", "object_lon", "object_area", "object_area_um2", "object_score",
    *(f"object_{name}" for name in _MEASURED),
)  # fmt: skip
_READ = ("latitude", "longitude", "area_um2", "score", "model", "model_sha256", *_MEASURED)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def object_id(particle_id: str) -> str:
    """The particle_id; of one that EcoTaxa cannot hold the name of its picture."""
    fits = len(particle_id) <= _MOST_ID and particle_id.isprintable()
    return particle_id if fits and particle_id == particle_id.strip() else picture_stem(particle_id)


def write_bundle(
    path: Path,
    run: Path,
    sample: Sequence[Located],
    pictures: Iterable[tuple[Located, bytes]],
    software: str,
    *,
    show_predicted: bool,
) -> None:
    """Write the zip. sample: each particle once. pictures: particle and its PNG.

    software: name and version, for ``process_software``. Without ``show_predicted`` the objects
    have no status and no category. Raises SettingError and OutputError.
    """
    if path.suffix.lower() != ".zip" or path.stem.endswith("Images"):
        raise SettingError(
            f"--out {path} must end in .zip, but not in Images.zip, which EcoTaxa takes for a "
            "bundle of a UVP6"
        )
    lines = rows_of(run, sample, _READ)
    rows = []
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for particle, png in pictures:
            row = _row(particle, lines[particle.part, particle.row], software)
            if show_predicted:
                row |= {
                    "object_annotation_status": "predicted",
                    "object_annotation_category": particle.predicted,
                    "object_score": lines[particle.part, particle.row]["score"],
                }
            rows.append(row)
            # a date of its own would make two exports of the same sample differ
            archive.writestr(zipfile.ZipInfo(row["img_file_name"], _EPOCH), png)
        if not rows:
            raise SettingError("no particle has a picture, so there is nothing to export")
        table = "".join(_lines(rows)).encode("utf-8-sig")
        # EcoTaxa remembers the names of tables that it has imported
        ids = "\n".join(row["object_id"] for row in rows)
        name = f"ecotaxa_validation_{hashlib.sha256(ids.encode()).hexdigest()[:12]}.tsv"
        info = zipfile.ZipInfo(name, _EPOCH)
        archive.writestr(info, table, zipfile.ZIP_DEFLATED)


def _row(particle: Located, line: Mapping[str, Any], software: str) -> dict[str, Any]:
    date, _, time = particle.datetime.removesuffix("Z").partition("T")
    area = line["area_um2"]
    sample = particle.bin or "unnamed"
    return {
        "img_file_name": f"images/{picture_stem(particle.particle_id)}.png",
        "img_rank": 0,
        "object_id": object_id(particle.particle_id),
        "object_lat": line["latitude"],
        "object_lon": line["longitude"],
        "object_date": date.replace("-", ""),
        "object_time": time.replace(":", ""),
        "object_area": None if area is None else area / UM_PER_PX**2,
        "object_area_um2": area,
        **{f"object_{name}": line[name] for name in _MEASURED},
        "object_original": f"{particle.source}/{particle.member}"[-_MOST_TEXT:],
        "sample_id": sample,
        "acq_id": f"{sample}.validation",  # belongs to one sample in all of the project
        "acq_instrument": "Plankton Imager",
        "acq_pixel_size": UM_PER_PX / 1000,
        "process_id": line["model_sha256"][:12],
        "process_software": software,
        "process_model": line["model"][:_MOST_TEXT],
    }


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(rows[0])
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(names)
    writer.writerow("[f]" if name in _NUMBERS else "[t]" for name in names)
    for row in rows:
        writer.writerow(_cell(row[name]) for name in names)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}" if abs(value) < float("inf") else ""  # also of no number
    return " ".join(str(value).split())
