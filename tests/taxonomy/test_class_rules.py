"""The scheme of Cefas, other schemes, and what is no taxon or stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.taxonomy.class_rules import ClassRules, attribute_name
from pi10_classifier.taxonomy.life_stages import stage_of
from pi10_classifier.taxonomy.table import TaxonTable


@pytest.fixture(scope="module")
def table() -> TaxonTable:
    return TaxonTable.load()


def written(folder: Path, *lines: str) -> Path:
    path = folder / "scheme.csv"
    path.write_text("\n".join(("class,below,when,except,why", *lines)) + "\n", "utf-8")
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
    assigned = ClassRules.load(table).assign(taxon.aphia_id, {"life_stage": stage})
    assert (assigned.label, assigned.note) == (label, "")


def test_every_accepted_taxon_has_a_class(table: TaxonTable) -> None:
    rules = ClassRules.load(table)
    for taxon in table:
        if taxon.status != "accepted" and taxon.accepted_id is None:
            continue
        label = "copepod" if table.is_below(taxon.aphia_id, 1080) else "noncopepod"
        assert rules.assign(taxon.aphia_id).label == label
    assert set(rules.classes) == {"copepod", "noncopepod", "detritus", "-"}


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ({"class": "Non_taxo_particle"}, "detritus"),
        ({"class": "non_taxo_particle", "custom_name": "Air bubbles"}, "-"),
        ({"class": "Taxo_particle"}, "detritus"),
        ({"name": "multiple<Copepoda"}, "-"),
    ],
)
def test_particles_are_told_from_organisms(
    table: TaxonTable, attributes: dict[str, str], label: str
) -> None:
    aphia_id = None if attributes.get("class", "").lower() == "non_taxo_particle" else 1080
    assigned = ClassRules.load(table).assign(aphia_id, attributes)
    assert assigned.label == label and assigned.rule.why


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
    with pytest.raises(SettingError, match="'unaccepted' in WoRMS, which names no other"):
        rules.assign(13703)


def test_another_scheme(table: TaxonTable, tmp_path: Path) -> None:
    path = written(
        tmp_path, "calanoid adult,1100,life_stage=Adults,,", "calanoid,1100,,,", "other animal,2,,,"
    )
    rules = ClassRules.load(table, path)
    assert rules.classes == ("calanoid adult", "calanoid", "other animal")
    assert rules.assign(104464, {"life_stage": "Adults"}).label == "calanoid adult"
    assert rules.assign(104464).label == "calanoid"
    assert rules.assign(106485).label == "other animal"
    with pytest.raises(SettingError, match="no rule gives a class to Rhizosolenia"):
        rules.assign(149069)


def test_conditions_and_exceptions(table: TaxonTable, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "old,1080,life_stage=CV|C5; sex=female,,",
        "other copepod,1080,,below=1100|1102; life_stage=egg|nauplius,",
        "sexless,,sex=,,",
        '"-",,,,the rest',
    )
    rules = ClassRules.load(table, path)

    def label(aphia_id: int | None, **attributes: str) -> str:
        return rules.assign(aphia_id, attributes).label

    assert label(104464, life_stage="cv", sex="Female") == "old"  # a stage of the rules' own
    assert label(104464, life_stage="CV", sex="male") == "-"  # Calanoida are excepted
    assert label(1080, sex="male") == "other copepod"
    assert label(1080, life_stage="nauplii", sex="male") == "-"
    assert label(None) == "sexless"
    assert rules.attributes == ("life_stage", "sex")
    assert attribute_name(" Life stage") == attribute_name("lifeStage") == "life_stage"


def test_unknown_taxa_and_stages_are_errors(table: TaxonTable) -> None:
    rules = ClassRules.load(table)
    with pytest.raises(SettingError, match="AphiaID 42 is not among"):
        rules.assign(42)
    with pytest.raises(SettingError, match="life stage 'nauplus' is none of adult, copepodite"):
        rules.assign(1080, {"life_stage": "nauplus"})
    # no rule asks for the stage of an arrow worm
    assert rules.assign(2081, {"life_stage": "stage II"}).label == "noncopepod"
    assert stage_of(" Not specified ") == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (",1080,,,", "line 2: class is empty"),
        ("copepod,1080", "line 2: not the 5 fields"),
        ("copepod,Copepoda,,,", "line 2: below is 'Copepoda'"),
        ("copepod,42,,,", "line 2: AphiaID 42 is not among"),
        ("copepod,1080,old,,", "line 2: when has 'old'; give attribute=value"),
        ("copepod,1080,below=1,,", "line 2: when has 'below'"),
        ("copepod,1080,,below=x,", "line 2: except below is 'x'"),
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
    with pytest.raises(SettingError, match="line 1: 'taxon,class'; needed: class,below"):
        ClassRules.load(table, path)
