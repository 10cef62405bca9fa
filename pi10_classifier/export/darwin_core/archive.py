"""``pi10 export dwca``: a run as a Darwin Core Archive for OBIS, EMODnet Biology and GBIF."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from pi10_classifier.errors import Code, Pi10Error, SettingError
from pi10_classifier.export.biovolumes import read_biovolumes
from pi10_classifier.export.darwin_core.biocheck import check
from pi10_classifier.export.darwin_core.eml import eml_bytes
from pi10_classifier.export.darwin_core.events import SAMPLE, LeftOut, choose, events_of
from pi10_classifier.export.darwin_core.occurrences import (
    occurrences_of,
    without_contradictions,
)
from pi10_classifier.export.darwin_core.rows import (
    Row,
    biovolume_measurement,
    event_measurements,
    event_row,
    occurrence_measurements,
    occurrence_row,
    ship_measurements,
)
from pi10_classifier.export.darwin_core.terms import (
    EMOF,
    EVENT,
    MEASUREMENTS,
    OCCURRENCE,
    TABLES,
    VALIDATED,
    Measurement,
    Table,
    of_ship,
    term,
)
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.left_out import left_out_path
from pi10_classifier.export.run_tables import read_tables
from pi10_classifier.export.ship_readings import Reading, readings_of
from pi10_classifier.export.taxa import Taxon, groups_of, published
from pi10_classifier.export.validated import Validated, read_validated
from pi10_classifier.foundation.files import atomic_path, write_csv
from pi10_classifier.underway.table import read_underway

_NAMESPACE = "http://rs.tdwg.org/dwc/text/"
# the earliest time that zip files know: the same rows are the same bytes
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Archive:
    """What was written. validated: occurrences that people verified; corrected: those whose density
    is corrected by a sample. list_path: the table of bins left out. contradicted: absences that
    are not told, since a taxon below is present. not_published: the model's classes that the taxon
    table holds back. readings: what the ship measured. notes: of these, and of the biovolume.
    without_biovolume: present occurrences that people did not verify and whose biovolume is not
    told: no image has a size, or the density is corrected.
    """

    path: Path
    list_path: Path
    bins: int
    occurrences: int
    absences: int
    validated: int
    corrected: int
    measurements: int
    left_out: tuple[LeftOut, ...]
    contradicted: tuple[str, ...]
    not_published: tuple[str, ...]
    labels: Validated
    readings: tuple[Reading, ...]
    notes: tuple[str, ...]
    without_biovolume: int

    @property
    def reasons(self) -> Counter[str]:
        return Counter(entry.reason for entry in self.left_out)


def write_archive(run: Path, out: Path, facts: DatasetFacts, taxa: dict[str, Taxon]) -> Archive:
    """Write the archive and, beside it, the list of bins that are left out.

    Raises SettingError where the run, its tables or the taxa cannot be used, OutputError where
    the disk fails, and Pi10Error where the archive would break a rule: then nothing is written.
    """
    tables = read_tables(run)
    chosen_taxa = published(taxa, tables.classes)
    groups = groups_of(chosen_taxa)
    validated = read_validated(run)
    bins, left_out = choose(tables)
    events = events_of(bins, facts.cruise)
    occurrences, contradicted = without_contradictions(
        occurrences_of(tables, events, groups, validated)
    )
    underway = read_underway(run)
    readings, notes = readings_of(underway, facts.readings)
    of_the_ship = _kinds_of(readings)
    volumes = read_biovolumes(run)
    emof: list[Row] = []
    for event in events:
        if event.kind == SAMPLE:
            emof += event_measurements(event)
            emof += ship_measurements(event, readings, underway.by_bin.get(event.key, {}))
    without_biovolume = 0
    for occurrence in occurrences:
        emof += occurrence_measurements(occurrence, tables)
        volume = volumes.of(occurrence.event.key, occurrence.labels)
        row = biovolume_measurement(occurrence, volume, tables)
        emof += [row] if row else []
        without_biovolume += row is None and occurrence.is_present and not occurrence.verified
    list_path = left_out_path(out)
    contents = {
        "meta.xml": _meta(),
        "eml.xml": eml_bytes(facts, tables, events, groups, left_out, validated),
        EVENT.file: _table(EVENT, (event_row(event, facts) for event in events)),
        OCCURRENCE.file: _table(
            OCCURRENCE, (occurrence_row(occurrence, tables, facts) for occurrence in occurrences)
        ),
        EMOF.file: _table(EMOF, emof),
    }
    with atomic_path(out) as temporary:
        _zip(temporary, contents)
        problems = check(temporary, of_the_ship)
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems[:SHOWN_PROBLEMS])
            raise Pi10Error(
                Code.INTERNAL,
                f"{out} is not written: the archive would break {len(problems)} rules of OBIS and "
                f"EMODnet Biology. If no table of {run} was changed by hand, please report it:\n"
                f"{listed}",
            )
        # before the archive has its name: whoever sees that one sees this too
        write_csv(
            list_path,
            ("bin", "reason", "flags"),
            ((entry.bin, entry.reason, ";".join(entry.flags)) for entry in left_out),
        )
    return Archive(
        path=out,
        list_path=list_path,
        bins=len(bins),
        occurrences=len(occurrences),
        absences=sum(not occurrence.is_present for occurrence in occurrences),
        validated=sum(occurrence.status == VALIDATED for occurrence in occurrences),
        corrected=sum(occurrence.corrected is not None for occurrence in occurrences),
        measurements=len(emof),
        left_out=tuple(left_out),
        contradicted=tuple(
            f"{absence.taxon.name} in {absence.event.key}" for absence in contradicted
        ),
        not_published=tuple(label for label in tables.classes if label not in chosen_taxa),
        labels=validated,
        readings=readings,
        notes=(*notes, *volumes.notes),
        without_biovolume=without_biovolume,
    )


def _kinds_of(readings: Sequence[Reading]) -> list[Measurement]:
    """Raises SettingError where one is called as a measurement of the archive's own is."""
    own = {name for kind in MEASUREMENTS for name in (kind.name, kind.type_id)}
    kinds = [of_ship(reading) for reading in readings]
    for reading, kind in zip(readings, kinds, strict=True):
        if kind.name in own or kind.type_id in own:
            raise SettingError(
                f"the ship's column {reading.column!r} is called {reading.p01 or kind.name!r}, "
                "which the archive has of the images; change long_name or P01 in "
                f"[underway.{reading.name}] of dataset.toml"
            )
    return kinds


def _table(table: Table, rows: Iterable[Row]) -> bytes:
    lines = ["\t".join(table.columns)]
    for row in rows:
        cells = [row.get(column, "") for column in table.columns]
        # the file knows no quotes, so that a tab or line end would cut the row
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _meta() -> bytes:
    ET.register_namespace("", _NAMESPACE)
    root = ET.Element(f"{{{_NAMESPACE}}}archive", {"metadata": "eml.xml"})
    for table in TABLES:
        is_core = table is EVENT
        element = ET.SubElement(
            root,
            f"{{{_NAMESPACE}}}{'core' if is_core else 'extension'}",
            {
                "encoding": "UTF-8",
                "fieldsTerminatedBy": "\\t",
                "linesTerminatedBy": "\\n",
                "fieldsEnclosedBy": "",
                "ignoreHeaderLines": "1",
                "rowType": table.row_type,
            },
        )
        files = ET.SubElement(element, f"{{{_NAMESPACE}}}files")
        ET.SubElement(files, f"{{{_NAMESPACE}}}location").text = table.file
        ET.SubElement(element, f"{{{_NAMESPACE}}}{'id' if is_core else 'coreid'}", {"index": "0"})
        for place, column in enumerate(table.columns):
            ET.SubElement(
                element, f"{{{_NAMESPACE}}}field", {"index": str(place), "term": term(column)}
            )
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return document + b"\n"


def _zip(path: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # whatever the system, the same bytes
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
