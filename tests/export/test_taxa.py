"""The taxon table: what is shipped agrees with WoRMS, and what users add is checked against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.export.taxa import groups_of, is_within, published, read_taxa
from pi10_classifier.taxonomy.table import TaxonTable

HEADER = "label,scientificName,AphiaID,rank,kingdom,ecotaxa_id,publish"


def own(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((HEADER, *lines)) + "\n", "utf-8")
    return path


def test_shipped_taxa_are_those_of_worms() -> None:
    worms = TaxonTable.load()
    for taxon in published(read_taxa(), ("copepod", "noncopepod", "detritus")).values():
        there = worms[taxon.aphia_id]
        assert (there.name, there.rank) == (taxon.name, taxon.rank)
        assert taxon.kingdom in [above.name for above in worms.lineage(taxon.aphia_id)]


def test_a_class_of_ones_own(tmp_path: Path) -> None:
    path = own(tmp_path / "taxa.csv", "calanoid,Calanoida,1100,Order,Animalia,,yes")
    taxa = published(read_taxa(path), ("copepod", "calanoid", "detritus"))
    assert [taxon.name for taxon in groups_of(taxa)] == ["Copepoda", "Calanoida"]
    assert is_within(taxa["calanoid"], taxa["copepod"])
    assert not is_within(taxa["copepod"], taxa["calanoid"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("c,Calanoida,1101,Order,Animalia,,yes", "1101 is Cyclopoida, not Calanoida"),
        ("c,Calanoida,999999,Order,Animalia,,yes", "Calanoida has the AphiaID 1100, not 999999"),
        ("c,Calanoida,1100,Class,Animalia,,yes", "rank of Calanoida is Order, not Class"),
        ("c,Calanoida,1100,Order,Plantae,,yes", "kingdom Animalia, not Plantae"),
        ("c,Calanoida,,Order,Animalia,,yes", "to be published, but has no AphiaID"),
        ("c,Calanoida,1100,Order,Animalia,,maybe", "publish is 'maybe'"),
        ("c,Calanoida,A1100,Order,Animalia,,yes", "write the number alone"),
        ("c,Calanoida,1100,Order,Animalia,yes", "has not 7 cells"),
    ],
)
def test_a_line_that_is_wrong(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        read_taxa(own(tmp_path / "taxa.csv", line))


def test_a_class_without_a_taxon() -> None:
    with pytest.raises(SettingError, match=r"'copepods' have no taxon \(the table has 'copepod'\)"):
        published(read_taxa(), ("copepods",))
    with pytest.raises(SettingError, match="no class of the model is to be published"):
        published(read_taxa(), ("detritus",))


def test_two_names_of_one_aphia_id(tmp_path: Path) -> None:
    path = own(tmp_path / "taxa.csv", "a,Aa,999998,Order,Animalia,,yes",
               "b,Bb,999998,Order,Animalia,,yes")  # fmt: skip
    with pytest.raises(SettingError, match="have the AphiaID 999998, but not one name"):
        published(read_taxa(path), ("a", "b"))
