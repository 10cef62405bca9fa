"""``pi10 export netcdf``: writes the trajectory of a run's minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.export.biovolumes import read_biovolumes
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.left_out import left_out_path
from pi10_classifier.export.netcdf.attributes import attributes_of
from pi10_classifier.export.netcdf.beside import biovolumes, ship
from pi10_classifier.export.netcdf.densities import corrected, densities
from pi10_classifier.export.netcdf.flags import flags
from pi10_classifier.export.netcdf.track import Track, track_of
from pi10_classifier.export.netcdf.variables import Variable, coordinates, sampling, taxa
from pi10_classifier.export.run_tables import read_tables
from pi10_classifier.export.ship_readings import Reading, readings_of
from pi10_classifier.export.taxa import Taxon, groups_of, published
from pi10_classifier.export.validated import Validated, read_validated
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.files import atomic_path, write_csv
from pi10_classifier.underway.table import read_underway

if TYPE_CHECKING:
    from netCDF4 import Dataset


@dataclass(frozen=True, slots=True)
class Written:
    """What was written. list_path: the table of minutes left out. corrected: minutes whose bin has
    a corrected density. not_published: classes of the model that the taxon table holds back.
    readings: what the ship measured. notes: of these, and of the biovolume.
    """

    path: Path
    list_path: Path
    track: Track
    taxa: tuple[str, ...]
    corrected: int
    not_published: tuple[str, ...]
    labels: Validated
    readings: tuple[Reading, ...]
    notes: tuple[str, ...]


def write_trajectory(
    run: Path,
    out: Path,
    facts: DatasetFacts,
    taxon_table: Mapping[str, Taxon],
    instrument: str = "",
) -> Written:
    """Write the file and, beside it, the list of minutes that are left out.

    instrument: whose minutes; may be left out where the run has one. Raises SettingError where
    the run, its tables or the taxa cannot be used, or netCDF4 is not installed, and OutputError
    where the disk fails.
    """
    tables = read_tables(run)
    chosen = published(taxon_table, tables.classes)
    groups = groups_of(chosen)
    validated = read_validated(run)
    track = track_of(tables, instrument)
    volumes = read_biovolumes(run)
    variables = [
        *coordinates(track, facts),
        *taxa(groups),
        *sampling(track.points),
        *flags(track.points, validated),
        *densities(tables, track.points, groups),
        *corrected(track.points, groups, validated),
        *biovolumes(tables, track.points, groups, volumes),
    ]
    underway = read_underway(run)
    taken = {name for variable in variables for name in (variable.name, *variable.dimensions)}
    readings, notes = readings_of(underway, facts.readings, taken)
    variables += ship(track.points, underway, readings)
    attributes = attributes_of(tables, track, facts)
    list_path = left_out_path(out)
    with atomic_path(out) as temporary:
        _write(temporary, variables, attributes)
        # before the file has its name: whoever sees that one sees this too
        write_csv(
            list_path,
            ("bin", "minute", "reason", "flags"),
            (
                (
                    entry.bin,
                    f"{entry.start:%Y-%m-%dT%H:%M:%SZ}" if entry.start else "",
                    entry.reason,
                    ";".join(entry.flags),
                )
                for entry in track.left_out
            ),
        )
    bins = {name for name, _ in validated.by_bin}
    return Written(
        path=out,
        list_path=list_path,
        track=track,
        taxa=tuple(taxon.name for taxon in groups),
        corrected=sum(point.minute.bin in bins for point in track.points),
        not_published=tuple(label for label in tables.classes if label not in chosen),
        labels=validated,
        readings=readings,
        notes=(*notes, *volumes.notes),
    )


def _write(
    path: Path, variables: Sequence[Variable], attributes: Mapping[str, str | float]
) -> None:
    """Write the file itself, not an image of it in memory: that holds the time, so the same run
    would not give the same bytes. Raises OSError where the disk fails.
    """
    try:
        from netCDF4 import Dataset
    except ImportError as error:
        raise SettingError(
            f"netCDF needs netCDF4 ({error}); run: {install_command('publish')}"
        ) from error

    try:
        with Dataset(path, "w", format="NETCDF4") as dataset:
            dataset.setncatts(attributes)
            for variable in variables:
                _add(dataset, variable)
    except RuntimeError as error:  # HDF5 says no more than "HDF error": so ask the system
        size = sum(variable.values.nbytes for variable in variables)
        path.write_bytes(bytes(max(size, 2**16)))
        raise OSError(0, str(error)) from error


def _add(dataset: Dataset, variable: Variable) -> None:
    for name, length in zip(variable.dimensions, variable.values.shape, strict=True):
        if name not in dataset.dimensions:
            dataset.createDimension(name, length)
    stored = dataset.createVariable(
        variable.name,
        variable.kind,
        variable.dimensions,
        compression="zlib" if variable.dimensions else None,
        fill_value=variable.fill,
    )
    stored.setncatts(variable.attributes)
    if variable.kind == "S1":
        stored.setncattr("_Encoding", "utf-8")
    stored.set_auto_chartostring(False)
    values = variable.values
    if variable.fill is not None and values.dtype.kind == "f":
        values = np.where(np.isnan(values), variable.fill, values)
    stored[...] = values
