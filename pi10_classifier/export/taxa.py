"""The taxon table: what each class of a model is in the World Register of Marine Species."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.export.identifiers import lsid_of
from pi10_classifier.taxonomy.table import TaxonTable, folded

COLUMNS = ("label", "scientificName", "AphiaID", "rank", "kingdom", "ecotaxa_id", "publish")
REMARKS = "remarks"  # a column that may be absent: what the class means
_NEEDED = ("scientificName", "AphiaID", "rank", "kingdom")
_ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Taxon:
    """A line of the table. aphia_id: 0 where the class is no taxon, and then not published.

    remarks: what the class means, where its taxon does not say it.
    """

    label: str
    name: str
    aphia_id: int
    rank: str
    kingdom: str
    ecotaxa_id: int
    publish: bool
    remarks: str = ""

    @property
    def lsid(self) -> str:
        return lsid_of(self.aphia_id)


def read_taxa(path: Path | None = None) -> dict[str, Taxon]:
    """Label -> taxon: of the standard table, and of the user's, which goes first.

    Raises SettingError with all that is wrong in the user's table.
    """
    standard = files("pi10_classifier.export").joinpath("taxa.csv").read_text("utf-8")
    taxa, _ = _read(standard)
    if path is not None:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"--taxa {path} cannot be read: {error}") from error
        own, problems = _read(text)
        known = _worms()
        for taxon in own.values():
            if taxon.publish:
                problems += [f"{taxon.label!r}: {told}" for told in _differences(taxon, known)]
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise SettingError(f"--taxa {path} is to be mended ({len(problems)}):\n{listed}")
        taxa |= own
    return taxa


def published(taxa: Mapping[str, Taxon], classes: Sequence[str]) -> dict[str, Taxon]:
    """Label -> taxon of those of a model's classes that are to be published.

    Raises SettingError where a class is not in the table, where two names share an AphiaID, and
    where nothing is left.
    """
    lacking = [label for label in classes if label not in taxa]
    if lacking:
        near = difflib.get_close_matches(lacking[0], list(taxa), 1, 0.7)
        hint = f" (the table has {near[0]!r})" if near else ""
        raise SettingError(
            f"the model's classes {', '.join(map(repr, lacking))} have no taxon{hint}; give a "
            f"table with a line for each: --taxa FILE.csv with the columns {','.join(COLUMNS)}, "
            "where publish is no for what is no organism"
        )
    chosen = {label: taxa[label] for label in classes if taxa[label].publish}
    if not chosen:
        raise SettingError(
            f"no class of the model is to be published ({', '.join(classes)}); "
            "write yes in the column publish of --taxa"
        )
    seen: dict[int, Taxon] = {}
    for taxon in chosen.values():
        other = seen.setdefault(taxon.aphia_id, taxon)
        if (other.name, other.rank, other.kingdom) != (taxon.name, taxon.rank, taxon.kingdom):
            raise SettingError(
                f"the classes {other.label!r} and {taxon.label!r} have the AphiaID "
                f"{taxon.aphia_id}, but not one name, rank and kingdom; mend --taxa"
            )
    return chosen


def groups_of(taxa: Mapping[str, Taxon]) -> dict[Taxon, tuple[str, ...]]:
    """Taxon -> the labels that mean it: two classes of a model may be one taxon."""
    labels: dict[int, list[str]] = {}
    for label, taxon in taxa.items():
        labels.setdefault(taxon.aphia_id, []).append(label)
    return {taxa[same[0]]: tuple(same) for same in labels.values()}


def is_within(inner: Taxon, outer: Taxon) -> bool:
    """True where ``outer`` is the taxon itself or stands above it, as far as is known here."""
    if inner.aphia_id == outer.aphia_id or inner.kingdom == outer.name:
        return True
    known = _worms()
    return inner.aphia_id in known and known.is_below(inner.aphia_id, outer.aphia_id)


@cache
def _worms() -> TaxonTable:
    return TaxonTable.load()


def _differences(taxon: Taxon, known: TaxonTable) -> Iterator[str]:
    """Where a line and the shipped extract of WoRMS disagree; what it lacks cannot be checked."""
    if taxon.aphia_id not in known:
        named = known.by_name(taxon.name)
        if named:
            yield f"{taxon.name} has the AphiaID {named.aphia_id}, not {taxon.aphia_id}"
        return
    there = known[taxon.aphia_id]
    if there.accepted_id:
        yield f"WoRMS takes AphiaID {there.accepted_id} in place of {taxon.aphia_id}; write that"
    elif folded(there.name) != folded(taxon.name):
        yield f"AphiaID {taxon.aphia_id} is {there.name}, not {taxon.name}"
    elif there.rank != taxon.rank:
        yield f"the rank of {taxon.name} is {there.rank}, not {taxon.rank}"
    kingdoms = [above.name for above in known.lineage(taxon.aphia_id) if above.rank == "Kingdom"]
    if kingdoms and taxon.kingdom not in kingdoms:
        yield f"{taxon.name} belongs to the kingdom {kingdoms[0]}, not {taxon.kingdom}"


def _read(text: str) -> tuple[dict[str, Taxon], list[str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    absent = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if absent:
        present = ", ".join(reader.fieldnames or ())
        return {}, [f"the columns {', '.join(absent)} are missing; it has {present}"]
    taxa: dict[str, Taxon] = {}
    problems: list[str] = []
    for row in reader:
        where = f"line {reader.line_num}"
        if None in row or None in row.values():
            problems.append(f"{where}: has not {len(reader.fieldnames or ())} cells")
            continue
        cells = {name: " ".join(row.get(name, "").split()) for name in (*COLUMNS, REMARKS)}
        wrong = list(_problems(cells))
        if cells["label"] in taxa:
            wrong.append(f"label {cells['label']!r} is there twice")
        problems += [f"{where}: {problem}" for problem in wrong]
        if not wrong:
            taxa[cells["label"]] = Taxon(
                label=cells["label"],
                name=cells["scientificName"],
                aphia_id=int(cells["AphiaID"] or 0),
                rank=cells["rank"],
                kingdom=cells["kingdom"],
                ecotaxa_id=int(cells["ecotaxa_id"] or 0),
                publish=_ANSWERS[cells["publish"].lower()],
                remarks=cells[REMARKS],
            )
    return taxa, problems


def _problems(cells: Mapping[str, str]) -> Iterator[str]:
    if not cells["label"]:
        yield "label is empty; write the class as the model names it"
    for name, value in cells.items():
        if not value.isprintable():
            yield f"{name} is {value!r}; leave out the characters that cannot be printed"
    for name in ("AphiaID", "ecotaxa_id"):
        value = cells[name]
        if value and not (value.isascii() and value.isdigit() and 0 < int(value) < 2**31):
            yield f"{name} is {value!r}; write the number alone, or nothing"
    answer = cells["publish"].lower()
    if answer not in _ANSWERS:
        yield f"publish is {cells['publish']!r}; write yes or no"
    elif _ANSWERS[answer]:
        empty = [name for name in _NEEDED if not cells[name]]
        if empty:
            yield f"{cells['label']!r} is to be published, but has no {', '.join(empty)}"
