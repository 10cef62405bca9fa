"""The scheme of Cefas, other schemes, and what is no taxon or stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.class_rules import ClassRules, stage_of
from pi10_classifier.taxonomy.table import TaxonTable


@pytest.fixture(scope="module")
def table() -> TaxonTable:
    return TaxonTable.load()


def written(folder: Path, *lines: str) -> Path:
    path = folder / "scheme.csv"
    path.write_text("\n".join(("ancestor,life_stage,class", *lines)) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "stage", "label"),
    [
        ("Calanus finmarchicus", "", "copepod"),
        ("Calanus finmarchicus", "Copepodites", "copepod"),
        ("Calanus finmarchicus", "NAUPLII", "noncopepod"),
        ("Copepoda", "egg_sac", "noncopepod"),
        ("Oithona", "female", "copepod"),
        ("Cirripedia", "nauplius", "noncopepod"),
        ("Penilia avirostris", "adult", "noncopepod"),
        ("Rhizosolenia", "chain", "noncopepod"),
        ("Noctiluca scintillans", "", "noncopepod"),
        ("Trichodesmium", "colony", "noncopepod"),
    ],
)
def test_the_scheme_of_cefas(table: TaxonTable, name: str, stage: str, label: str) -> None:
    taxon = table.by_name(name)
    assert taxon is not None
    assigned = ClassRules.load(table).assign(taxon.aphia_id, stage)
    assert (assigned.label, assigned.note) == (label, "")


def test_every_listed_taxon_has_a_class(table: TaxonTable) -> None:
    rules = ClassRules.load(table)
    copepods = {taxon.aphia_id for taxon in table if table.is_below(taxon.aphia_id, 1080)}
    for taxon in table:
        label = rules.assign(taxon.aphia_id).label
        assert label == ("copepod" if taxon.aphia_id in copepods else "noncopepod")
    assert set(rules.classes) == {"copepod", "noncopepod"}


def test_an_identifier_that_is_replaced_counts_as_the_accepted_one(table: TaxonTable) -> None:
    rules = ClassRules.load(table)
    beroe = rules.assign(106331)
    assert beroe.aphia_id == 1434803 and beroe.label == "noncopepod"
    assert beroe.note == (
        "AphiaID 106331 (Beroe) has the status 'unaccepted' in WoRMS; 1434803 was used"
    )
    # the accepted one, a subspecies, is not listed: the class comes by the place of the old one
    pleuromamma = rules.assign(104637)
    assert (pleuromamma.label, pleuromamma.aphia_id) == ("copepod", 596242)
    # abandoned without a successor
    assert rules.assign(13703).note.endswith("has the status 'unaccepted' in WoRMS")


def test_another_scheme(table: TaxonTable, tmp_path: Path) -> None:
    path = written(tmp_path, "1100,adult,calanoid adult", "1100,,calanoid", "2,,other animal")
    rules = ClassRules.load(table, path)
    assert rules.classes == ("calanoid adult", "calanoid", "other animal")
    assert rules.assign(104464, "Adults").label == "calanoid adult"
    assert rules.assign(104464).label == "calanoid"
    assert rules.assign(106485).label == "other animal"
    with pytest.raises(SettingError, match="no rule gives a class to Rhizosolenia"):
        rules.assign(149069)


def test_unknown_taxa_and_stages_are_errors(table: TaxonTable) -> None:
    rules = ClassRules.load(table)
    with pytest.raises(SettingError, match="AphiaID 42 is not among"):
        rules.assign(42)
    with pytest.raises(SettingError, match="life stage 'nauplus' is none of adult, copepodite"):
        rules.assign(1080, "nauplus")
    assert stage_of(" Not specified ") == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1080,,", "line 2: '1080,,'; give ancestor,life_stage,class"),
        ("1080,copepod", "line 2: '1080,copepod'"),
        ("Copepoda,,copepod", "line 2: ancestor is 'Copepoda'"),
        ("42,,copepod", "line 2: AphiaID 42 is not among"),
        ("1080,old,copepod", "line 2: life stage 'old' is none of"),
    ],
)
def test_a_wrong_rule_is_named(table: TaxonTable, tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        ClassRules.load(table, written(tmp_path, line))
    assert said in caught.value.message and "scheme.csv" in caught.value.message


def test_a_file_without_rules(table: TaxonTable, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds no rule"):
        ClassRules.load(table, written(tmp_path))
    path = tmp_path / "other.csv"
    path.write_text("taxon,class\n", "utf-8")
    with pytest.raises(SettingError, match="line 1: 'taxon,class'; needed: ancestor"):
        ClassRules.load(table, path)
