"""The taxa that this package knows: name, AphiaID, rank and parent, frozen from WoRMS.

``worms.csv`` was taken from public records of the World Register of Marine Species (WoRMS Editorial
Board, doi 10.14284/170, CC BY 4.0); its columns ``source`` and ``sources`` say which. See
``docs/taxonomy.md``.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO
from pathlib import Path

from pi10_classifier.errors import SettingError

FILE = "worms.csv"
COLUMNS = (
    "aphia_id",
    "name",
    "rank",
    "parent_id",
    "status",
    "accepted_id",
    "ecotaxa_id",
    "parent_from",
    "sources",
    "source",
)
NEEDED = COLUMNS[:4]
ACCEPTED = "accepted"
# as WoRMS names them, from the root downwards
RANKS = (
    "Superdomain",
    "Domain",
    "Kingdom",
    "Subkingdom",
    "Infrakingdom",
    "Superphylum",
    "Phylum",
    "Phylum (Division)",
    "Subphylum",
    "Subphylum (Subdivision)",
    "Infraphylum",
    "Parvphylum",
    "Megaclass",
    "Gigaclass",
    "Superclass",
    "Class",
    "Subclass",
    "Infraclass",
    "Subterclass",
    "Superorder",
    "Order",
    "Suborder",
    "Infraorder",
    "Parvorder",
    "Section",
    "Subsection",
    "Superfamily",
    "Epifamily",
    "Family",
    "Subfamily",
    "Supertribe",
    "Tribe",
    "Subtribe",
    "Genus",
    "Subgenus",
    "Species",
    "Subspecies",
    "Variety",
    "Subvariety",
    "Forma",
    "Subforma",
)
_LARGEST = 2**31 - 1
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Taxon:
    """One taxon. ``accepted_id`` is set where WoRMS uses another name or identifier instead."""

    name: str
    aphia_id: int
    rank: str
    parent_id: int | None
    ecotaxa_id: int | None = None
    status: str = ACCEPTED
    accepted_id: int | None = None


class TaxonTable:
    """Taxa by AphiaID and by name, with their lineages."""

    def __init__(self, taxa: Iterable[Taxon]) -> None:
        """Raises ValueError where a parent is missing or lineages run in a circle."""
        self._taxa = {taxon.aphia_id: taxon for taxon in taxa}
        for taxon in self._taxa.values():
            _check_lineage(taxon, self._taxa)
        self._names: dict[str, Taxon] = {}
        # an accepted name before one that is not; else the older identifier
        for taxon in sorted(self, key=lambda each: (each.status != ACCEPTED, each.aphia_id)):
            self._names.setdefault(folded(taxon.name), taxon)
        self._sorted = sorted((folded(taxon.name), taxon.aphia_id) for taxon in self)

    @classmethod
    def load(cls, extra: Path | None = None) -> TaxonTable:
        """The shipped taxa, and those of the CSV file ``extra`` with the same columns.

        A line of ``extra`` takes the place of a shipped taxon of the same AphiaID. Raises
        SettingError with the line and the remedy.
        """
        shipped = files(__package__).joinpath(FILE).read_text("utf-8")
        taxa = {taxon.aphia_id: taxon for taxon, _ in parse(shipped, FILE)}
        lines: dict[int, int] = {}
        if extra is not None:
            for taxon, line in parse(read_text(extra), str(extra)):
                if taxon.aphia_id in lines:
                    raise SettingError(
                        f"{extra}, line {line}: AphiaID {taxon.aphia_id} is already in line "
                        f"{lines[taxon.aphia_id]}; keep one of them"
                    )
                lines[taxon.aphia_id] = line
                taxa[taxon.aphia_id] = taxon
        for aphia_id, line in lines.items():
            try:
                _check_lineage(taxa[aphia_id], taxa)
            except ValueError as error:
                raise SettingError(f"{extra}, line {line}: {error}") from None
        return cls(taxa.values())

    def __getitem__(self, aphia_id: int) -> Taxon:
        """Raises SettingError for an AphiaID that the table does not hold."""
        try:
            return self._taxa[aphia_id]
        except KeyError:
            raise SettingError(
                f"AphiaID {aphia_id} is not among the {len(self._taxa)} known taxa; look it up at "
                "https://www.marinespecies.org and add it in a file of your own (docs/taxonomy.md)"
            ) from None

    def __contains__(self, aphia_id: object) -> bool:
        return aphia_id in self._taxa

    def __iter__(self) -> Iterator[Taxon]:
        return iter(self._taxa.values())

    def __len__(self) -> int:
        return len(self._taxa)

    def by_name(self, name: str) -> Taxon | None:
        """The taxon of exactly this name, whatever its case; an accepted one before others."""
        return self._names.get(folded(name))

    def search(self, text: str, limit: int = 20) -> list[Taxon]:
        """Taxa that ``text`` finds: names that begin with it, then names that hold it.

        Case and accents do not matter. Digits find the AphiaID itself, then those that begin so.
        """
        wanted = folded(text)
        if not wanted or limit < 1:
            return []
        if wanted.isascii() and wanted.isdigit():
            found = sorted(key for key in self._taxa if str(key).startswith(wanted))
        else:
            first = [key for name, key in self._sorted if name.startswith(wanted)]
            found = first + [
                key for name, key in self._sorted if wanted in name and not name.startswith(wanted)
            ]
        return [self._taxa[key] for key in found[:limit]]

    def lineage(self, aphia_id: int) -> list[Taxon]:
        """From the root to the taxon itself. Raises SettingError for an unknown AphiaID."""
        steps = [self[aphia_id]]
        while (parent := steps[-1].parent_id) is not None:
            steps.append(self._taxa[parent])
        return steps[::-1]

    def is_below(self, aphia_id: int, ancestor: int) -> bool:
        """True where ``ancestor`` is the taxon itself or stands above it."""
        return any(taxon.aphia_id == ancestor for taxon in self.lineage(aphia_id))


def folded(text: str) -> str:
    """Lower case, without accents and needless spaces: what names are compared by."""
    plain = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(bare.casefold().split())


_RANKS = {folded(rank): rank for rank in RANKS}


def parse(text: str, origin: str) -> list[tuple[Taxon, int]]:
    """Taxa of a CSV text, each with the number of its line. Raises SettingError."""
    reader = csv.DictReader(StringIO(text), strict=True)
    taxa = []
    try:
        header = [str(name) for name in reader.fieldnames or ()]
        missing = [name for name in NEEDED if name not in header]
        if missing:
            raise SettingError(
                f"{origin}, line 1: no column {', '.join(missing)}; a table of taxa has at least "
                f"the columns {','.join(NEEDED)}"
            )
        for row in reader:
            where = f"{origin}, line {reader.line_num}"
            if None in row or None in row.values():
                raise SettingError(f"{where}: not the {len(header)} fields of the header")
            taxa.append((_taxon(row, where), reader.line_num))
    except csv.Error as error:
        raise SettingError(
            f"{origin}, line {reader.line_num}: {error}; save it as plain CSV"
        ) from None
    return taxa


def _taxon(row: Mapping[str, str], where: str) -> Taxon:
    name = " ".join(row["name"].split())
    if not name:
        raise SettingError(f"{where}: name is empty; give the scientific name")
    rank = _RANKS.get(folded(row["rank"]))
    if rank is None:
        raise SettingError(
            f"{where}: rank {row['rank']!r} is none that WoRMS has, such as Class, Order, Family, "
            "Genus or Species"
        )
    aphia_id = _number(row, "aphia_id", where)
    if aphia_id is None:
        raise SettingError(f"{where}: aphia_id is empty; give the AphiaID of {name}")
    return Taxon(
        name,
        aphia_id,
        rank,
        _number(row, "parent_id", where),
        _number(row, "ecotaxa_id", where),
        " ".join(row.get("status", "").split()) or ACCEPTED,
        _number(row, "accepted_id", where),
    )


def _number(row: Mapping[str, str], column: str, where: str) -> int | None:
    text = row.get(column, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:11]) <= _LARGEST):
        raise SettingError(f"{where}: {column} is {text!r}; an identifier is a whole number from 1")
    return int(text)


def _check_lineage(taxon: Taxon, taxa: Mapping[int, Taxon]) -> None:
    """Raises ValueError where a parent is missing or a taxon stands above itself."""
    passed = [taxon.aphia_id]
    while (parent := taxa[passed[-1]].parent_id) is not None:
        if parent not in taxa:
            raise ValueError(
                f"parent_id {parent} of {taxa[passed[-1]].name} is no known taxon; add a line for "
                "it, or give the nearest ancestor that is known"
            )
        if parent in passed:
            raise ValueError(
                f"{taxon.name} stands above itself through parent_id {parent}; correct parent_id"
            )
        passed.append(parent)


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file, with or without a mark. Raises SettingError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SettingError(
                f"{path} is larger than a table of taxa can be; is it the right file?"
            )
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise SettingError(f"{path}, line {line}: not UTF-8 text; save it as UTF-8 CSV") from None
    except OSError as error:
        raise SettingError(
            f"cannot read {path}: {error.strerror or error}; check the path"
        ) from None
