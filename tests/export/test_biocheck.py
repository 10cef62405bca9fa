"""The rules of OBIS and EMODnet Biology pass a sound archive, and each sees its breach."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from published_run import usual, write_run

from pi10_classifier.export.darwin_core.archive import write_archive
from pi10_classifier.export.darwin_core.biocheck import check
from pi10_classifier.export.dataset_facts import read_facts
from pi10_classifier.export.taxa import read_taxa

Files = dict[str, str]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Files:
    home = tmp_path_factory.mktemp("biocheck")
    bins = [usual(), usual(1, counts={"detritus": 9, "noncopepod": 1})]
    run = write_run(home / "run", bins)
    write_archive(run, home / "a.zip", read_facts(run / "dataset.toml"), read_taxa())
    with zipfile.ZipFile(home / "a.zip") as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def pack(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def put(file: str, line: int, column: str, value: str) -> Callable[[Files], None]:
    """Replace a cell; lines are counted from 1, with the header."""

    def change(files: Files) -> None:
        rows = [text.split("\t") for text in files[file].removesuffix("\n").split("\n")]
        place = rows[0].index(column)
        assert rows[line - 1][place] != value
        rows[line - 1][place] = value
        files[file] = "\n".join("\t".join(row) for row in rows) + "\n"

    return change


def swap(file: str, before: str, after: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        assert before in files[file]
        files[file] = files[file].replace(before, after, 1)

    return change


def without(file: str) -> Callable[[Files], None]:
    return lambda files: files.pop(file) and None


def repeated(file: str, line: int) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[file] += files[file].split("\n")[line - 1] + "\n"

    return change


EVENTS, FINDS, MEASURES = "event.txt", "occurrence.txt", "extendedmeasurementorfact.txt"
BROKEN = {
    "an event twice": (repeated(EVENTS, 3), "eventID .* is there 2 times"),
    "no such parent": (put(EVENTS, 3, "parentEventID", "C25"), "parentEventID 'C25' is no event"),
    "its own parent": (put(EVENTS, 2, "parentEventID", "C24"), "is its own ancestor"),
    "null island": (
        lambda files: [put(EVENTS, 3, f"decimal{name}", "0")(files)
                       for name in ("Latitude", "Longitude")],
        "are both 0",
    ),
    "beyond the pole": (put(EVENTS, 3, "decimalLatitude", "91"), "not a number from -90 to 90"),
    "no depth": (put(EVENTS, 3, "minimumDepthInMeters", ""), "minimumDepthInMeters is empty"),
    "depths upside down": (put(EVENTS, 3, "minimumDepthInMeters", "9"), "greater than the maximum"),
    "another date": (put(EVENTS, 3, "eventDate", "24/06/2024"), "is not of the form"),
    "end before start": (
        put(EVENTS, 3, "eventDate", "2024-06-24T15:00:00Z/2024-06-24T14:00:00Z"),
        "from start to end",
    ),
    "a licence nobody takes": (
        put(EVENTS, 3, "license", "https://creativecommons.org/licenses/by-sa/4.0/"),
        "OBIS and GBIF do not take",
    ),
    "two datasets": (put(EVENTS, 3, "datasetName", "Other"), "datasetName has 2 values"),
    "an occurrence twice": (repeated(FINDS, 2), "occurrenceID .* is there 2 times"),
    "no such event": (put(FINDS, 2, "eventID", "C24:gone"), "eventID 'C24:gone' is no event"),
    "no name": (put(FINDS, 2, "scientificName", ""), "scientificName is empty"),
    "no LSID": (put(FINDS, 2, "scientificNameID", "1080"), "is no LSID of WoRMS"),
    "one name, two taxa": (
        put(FINDS, 2, "scientificNameID", "urn:lsid:marinespecies.org:taxname:2"),
        "scientificName 'Copepoda' has 2 values",
    ),
    "nobody identified": (put(FINDS, 2, "identifiedBy", ""), "identifiedBy is empty"),
    "present with none": (put(FINDS, 2, "organismQuantity", "0"), "a quantity of 0 while"),
    "absent with some": (put(FINDS, 2, "occurrenceStatus", "absent"), "while occurrenceStatus is"),
    "a status of its own": (
        put(FINDS, 2, "identificationVerificationStatus", "validated"), "'validated', not",
    ),
    "a measurement without a value": (
        put(MEASURES, 3, "measurementValue", ""), "measurementValue is empty",
    ),
    "a type of its own": (
        put(MEASURES, 3, "measurementTypeID", "http://example.org/volume"), "is not on the list",
    ),
    "a type without an address": (
        put(MEASURES, 3, "measurementTypeID", ""), "measurementTypeID '' is not on the list",
    ),
    "another unit": (put(MEASURES, 3, "measurementUnit", "litres"), "the unit of Volume sampled"),
    "a volume without the share": (
        lambda files: files.update({MEASURES: "\n".join(
            line for line in files[MEASURES].split("\n") if "SSAMPC01" not in line)}),
        "has no Sub-sampling coefficient",
    ),
    "a measurement of nothing": (
        put(MEASURES, 3, "occurrenceID", "C24:gone"), "occurrenceID 'C24:gone' is no occurrence",
    ),
    "a cut table": (
        lambda files: files.update({MEASURES: files[MEASURES][:-20]}), "its last line has no end",
    ),
    "another title": (swap("eml.xml", "cruise that never", "cruise that once"), "the title"),
    "no contact": (swap("eml.xml", "<contact>", "<kontakt>"), "is no XML"),
    "no metadata": (without("eml.xml"), "eml.xml: is missing"),
    "no table": (without(FINDS), "is named in meta.xml, but not there"),
    "another term": (swap("meta.xml", "terms/eventDate", "terms/day"), "day is not known"),
}  # fmt: skip


def test_a_sound_archive_passes(sound: Files, tmp_path: Path) -> None:
    assert check(pack(tmp_path / "a.zip", sound)) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_fails(name: str, sound: Files, tmp_path: Path) -> None:
    change, told = BROKEN[name]
    files = dict(sound)
    change(files)
    problems = "\n".join(check(pack(tmp_path / "a.zip", files)))
    assert re.search(told, problems), problems


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert "cannot be read" in "".join(check(tmp_path / "a.zip"))
