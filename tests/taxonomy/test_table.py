"""The shipped extract of WoRMS holds together, and a user's own file is checked line by line."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.table import COLUMNS, FILE, RANKS, Taxon, TaxonTable

HEADER = "aphia_id,name,rank,parent_id,status,accepted_id,ecotaxa_id"


@pytest.fixture(scope="module")
def table() -> TaxonTable:
    return TaxonTable.load()


@pytest.fixture(scope="module")
def lines() -> list[dict[str, str]]:
    text = files("pi10_classifier.taxonomy").joinpath(FILE).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def extra(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join((header, *rows)) + "\n", "utf-8")
    return path


# Each pair stands in another public place than worms.csv does: iobis/manual, WoRMS' own documents
@pytest.mark.parametrize(
    ("aphia_id", "name", "rank"),
    [
        (1, "Biota", "Superdomain"),
        (2, "Animalia", "Kingdom"),
        (1080, "Copepoda", "Class"),
        (1135, "Amphipoda", "Order"),
        (882, "Annelida", "Phylum"),
        (146421, "Appendicularia", "Class"),
        (104464, "Calanus finmarchicus", "Species"),
        (104108, "Acartia", "Genus"),
    ],
)
def test_anchors(table: TaxonTable, aphia_id: int, name: str, rank: str) -> None:
    assert (table[aphia_id].name, table[aphia_id].rank) == (name, rank)


def test_each_line_is_one_taxon_with_its_source(lines: list[dict[str, str]]) -> None:
    assert list(lines[0]) == list(COLUMNS)
    identifiers = [int(line["aphia_id"]) for line in lines]
    assert len(set(identifiers)) == len(identifiers) and identifiers == sorted(identifiers)
    for line in lines:
        assert int(line["sources"]) == len(line["source"].split("; ")) >= 1, line
        assert line["source"] and line["parent_from"] in ("WoRMS", "classification"), line


def test_accepted_names_are_unique(table: TaxonTable) -> None:
    names = [taxon.name for taxon in table if taxon.status == "accepted"]
    assert len(set(names)) == len(names)


def test_lineages_go_up_to_one_root_and_down_the_ranks(table: TaxonTable) -> None:
    for taxon in table:
        lineage = table.lineage(taxon.aphia_id)
        assert lineage[0].aphia_id == 1 and lineage[-1] is taxon
        ranks = [RANKS.index(step.rank) for step in lineage]
        assert ranks == sorted(set(ranks)), [step.name for step in lineage]


def test_a_species_stands_below_its_genus_where_that_is_listed(table: TaxonTable) -> None:
    for taxon in table:
        genus = table.by_name(taxon.name.split()[0])
        if taxon.rank == "Species" and genus is not None and genus.rank == "Genus":
            assert table.is_below(taxon.aphia_id, genus.aphia_id), taxon.name


def test_a_name_that_is_replaced_says_by_which(table: TaxonTable) -> None:
    beroe = table[106331]
    assert beroe.status == "unaccepted" and beroe.accepted_id == 1434803
    assert table.by_name("beroe") is table[1434803]
    for taxon in table:
        if taxon.accepted_id in table:
            assert taxon.status != "accepted"
            assert table[taxon.accepted_id].status == "accepted"


def test_every_taxon_is_found_by_its_name_and_its_number(table: TaxonTable) -> None:
    for taxon in table:
        assert taxon in table.search(taxon.name.upper(), 500)
        assert table.search(str(taxon.aphia_id))[0] is taxon


def test_search_gives_beginnings_first_and_sees_no_accents(table: TaxonTable) -> None:
    names = [taxon.name for taxon in table.search("cala")]
    assert names[:2] == ["Calanidae", "Calanoida"] and "Pseudocalanus" in names
    assert [name.startswith("Cal") for name in names] == sorted(
        (name.startswith("Cal") for name in names), reverse=True
    )
    assert [taxon.name for taxon in table.search("  OÏTHÓNA ", 1)] == ["Oithona"]
    assert len(table.search("a", 7)) == 7
    assert table.search("") == table.search("zzz") == table.search("a", 0) == []


def test_below(table: TaxonTable) -> None:
    assert table.is_below(104464, 1080) and table.is_below(1080, 1080)
    assert not table.is_below(2081, 1080)
    assert table[1080].ecotaxa_id == 25828
    with pytest.raises(SettingError, match="AphiaID 99 is not among the"):
        table.is_below(99, 1080)


def test_a_file_of_the_user_adds_and_replaces(tmp_path: Path) -> None:
    path = extra(
        tmp_path,
        "900001,Mock genus,genus,104079,,,",
        "900002,Mock genus spec,Species,900001,,,77",
        "1080,Copepoda,Class,1065,accepted,,5",
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    table = TaxonTable.load(path)
    assert table[900002] == Taxon("Mock genus spec", 900002, "Species", 900001, 77)
    assert table.is_below(900002, 1080) and table[1080].ecotaxa_id == 5
    assert len(table) == len(TaxonTable.load()) + 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x,A,Genus,1080,,,", "line 2: aphia_id is 'x'"),
        ("-4,A,Genus,1080,,,", "line 2: aphia_id is '-4'"),
        ("99999999999999,A,Genus,1080,,,", "line 2: aphia_id is '99999999999999'"),
        (",A,Genus,1080,,,", "line 2: aphia_id is empty"),
        ("900001,,Genus,1080,,,", "line 2: name is empty"),
        ("900001,A,Gens,1080,,,", "line 2: rank 'Gens' is none that WoRMS has"),
        ("900001,A,Genus,900009,,,", "line 2: parent_id 900009 of A is no known taxon"),
        ("900001,A,Genus,900001,,,", "line 2: A stands above itself through parent_id 900001"),
        ("900001,A,Genus,1080", "line 2: not the 7 fields"),
        ("900001,A,Genus,1080,,,,,9", "line 2: not the 7 fields"),
        ("900001,A,Genus,1080,,,\n900001,B,Genus,1080,,,", "line 3: AphiaID 900001 is already in"),
        ("1,Biota,Superdomain,104464,,,", "line 2: Biota stands above itself"),
        ('900001,"A,Genus,1080,,,', "unexpected end of data"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(SettingError, match=r"mine\.csv") as caught:
        TaxonTable.load(extra(tmp_path, row))
    assert said in caught.value.message


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="line 1: no column parent_id"):
        TaxonTable.load(extra(tmp_path, header="aphia_id,name,rank"))
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\n1,\xe9,Genus,2,,,\n".encode("latin-1"))
    with pytest.raises(SettingError, match="line 2: not UTF-8"):
        TaxonTable.load(tmp_path / "latin.csv")
    with pytest.raises(SettingError, match=r"cannot read .*none\.csv: No such file"):
        TaxonTable.load(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(SettingError, match="line 1: no column aphia_id"):
        TaxonTable.load(tmp_path / "empty.csv")


def test_a_table_without_a_parent_is_refused() -> None:
    with pytest.raises(ValueError, match="parent_id 2 of A is no known taxon"):
        TaxonTable([Taxon("A", 1, "Genus", 2)])
