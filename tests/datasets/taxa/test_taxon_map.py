"""Labels that are taxa: their text, the classes they get, and what has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.taxa.columns import identifier, named
from pi10_classifier.datasets.taxa.label import TaxonLabel
from pi10_classifier.datasets.taxa.taxon_map import TaxonMap, read_label_map
from pi10_classifier.errors import Code, SettingError


@pytest.fixture(scope="module")
def cefas() -> TaxonMap:
    found = read_label_map(Path("taxa"))
    assert isinstance(found, TaxonMap)
    return found


def decided(taxon_map: TaxonMap, **cells: str) -> tuple[str | None, str]:
    decision = taxon_map.decide(taxon_map.label_of(cells, ""))
    return decision.group, decision.note


def test_a_label_keeps_taxon_and_attributes(cefas: TaxonMap) -> None:
    cells = {"aphia_id": "1080.0", "class": "Organism", "life_stage": "Nauplius", "depth": "3"}
    label = cefas.label_of(cells, "")
    assert label == "Copepoda|aphia_id=1080|life_stage=Nauplius|class=Organism"
    assert cefas.group(label) == "noncopepod"
    odd = TaxonLabel("a/b|c", {"custom_name": "50 % = half/2"})
    assert TaxonLabel.parse(str(odd)) == odd and "/" not in str(odd)


@pytest.mark.parametrize(
    ("cells", "group", "note"),
    [
        ({"aphia_id": "1080"}, "copepod", ""),
        ({"aphia_id": "urn:lsid:marinespecies.org:taxname:1080"}, "copepod", ""),
        ({"scientific_name": "calanoida"}, "copepod", "AphiaID 1100 by the name"),
        ({"aphia_id": "106331"}, "noncopepod", "1434803 was used"),
        ({"aphia_id": "13703"}, None, "names no other"),
        ({"aphia_id": "999999"}, None, "AphiaID 999999 is not among the"),
        (
            {"aphia_id": "999999", "family": "Xxidae", "order": "Calanoida"},
            "copepod",
            "AphiaID 999999 is not known; Calanoida is above it",
        ),
        (
            {"scientific_name": "Xx yy", "higher_classification": "Animalia|Copepoda|Xxidae"},
            "copepod",
            "Xx yy is not known; Copepoda is above it",
        ),
        (
            {"aphia_id": "999999", "scientific_name": "Oithona xx", "phylum": "Arthropoda"},
            "copepod",
            "AphiaID 999999 is not known; Oithona is above it",
        ),
        ({"aphia_id": "1O80"}, None, "AphiaID is '1O80'; give a whole number"),
        ({"aphia_id": "1080", "life_stage": "stage V"}, None, "life stage 'stage V' is none of"),
        ({"aphia_id": "1080", "life_stage": "NA"}, "copepod", ""),
        ({"aphia_id": "1080", "scientific_name": "Calanoida"}, "copepod", "both have this class"),
        ({"aphia_id": "106331", "scientific_name": "Beroe"}, "noncopepod", "1434803 was used"),
        ({"aphia_id": "", "class": "Non_taxo_particle"}, "detritus", ""),
        ({"aphia_id": "NA", "class": "Organism"}, None, "no rule gives a class to what has no"),
        ({"aphia_id": "", "label": "detritus"}, "detritus", ""),
        ({"aphia_id": "", "custom_name": "Bubbles", "class": "Non_taxo_particle"}, "-", ""),
    ],
)
def test_rows(cefas: TaxonMap, cells: dict[str, str], group: str | None, note: str) -> None:
    found, told = decided(cefas, **cells)
    assert found == group
    assert note in told and bool(note) == bool(told)


def test_a_name_that_contradicts_its_identifier_is_left_out(cefas: TaxonMap) -> None:
    label = cefas.label_of({"aphia_id": "1080", "scientific_name": "Chaetognatha"}, "")
    decision = cefas.decide(label)
    assert (decision.group, decision.code) == (None, Code.MISLABELLED)
    assert "AphiaID 1080 is Copepoda, but the name is Chaetognatha (AphiaID 2081)" in decision.note


@pytest.mark.parametrize(
    ("category", "hierarchy", "group"),
    [
        ("Calanoida<Copepoda", "living>Eukaryota>Crustacea>Copepoda>Calanoida", "copepod"),
        ("nauplii<Copepoda", "living>Crustacea>Copepoda>nauplii", "noncopepod"),
        ("part<Copepoda", "", "detritus"),
        ("multiple<Copepoda", "", "-"),
        ("Xus<Calanoida", "living>Copepoda>Calanoida>Xus", "copepod"),
        ("fiber<detritus", "not-living>detritus>fiber", "detritus"),
        ("badfocus<artefact", "not-living>artefact>badfocus", "-"),
        ("t001", "living>temporary>t001", "noncopepod"),
        ("strange", "", None),
    ],
)
def test_categories_of_ecotaxa(
    cefas: TaxonMap, category: str, hierarchy: str, group: str | None
) -> None:
    cells = {
        "object_annotation_category": category,
        "object_annotation_hierarchy": hierarchy,
        "object_annotation_status": "validated",
    }
    assert decided(cefas, **cells)[0] == group
    cells["object_annotation_status"] = "predicted"
    assert decided(cefas, **cells) == (
        None,
        "predicted in EcoTaxa, not validated; validate it there",
    )


def test_folders_named_as_taxa(cefas: TaxonMap) -> None:
    assert cefas.group("crops/Copepoda") == "copepod"
    assert cefas.group("images/nauplii<Copepoda__25828") == "noncopepod"
    assert cefas.group("crops/whatever") is None
    # the labels of data sets that have the classes already, and those of a run
    assert cefas.group("copepod/copepod_calanoid") == cefas.group("copepod") == "copepod"
    assert cefas.group("copepod/nauplius") == "noncopepod"
    assert cefas.group("detritus") == "detritus" and cefas.group("several") == "-"


def test_a_table_of_rules_is_told_from_a_label_map(tmp_path: Path) -> None:
    rules = tmp_path / "rules.csv"
    rules.write_text(
        'class,below,when,why\ncopepod,1080,,"all, eggs too"\nrest,1,,\nrest,2,behaviour=swarm,\n',
        "utf-8",
    )
    found = read_label_map(rules)
    assert isinstance(found, TaxonMap) and found.classes == ("copepod", "rest")
    assert "behaviour" in found.attributes
    label = found.label_of({"aphia_id": "1080"}, "")
    assert found.decide(label).rule == "below 1080 (all, eggs too)"
    assert found.unused([label]) == ("below 1", "below 2; behaviour=swarm")
    plain = tmp_path / "plain.csv"
    plain.write_text("label,class\na,b\n", "utf-8")
    assert type(read_label_map(plain)) is LabelMap
    with pytest.raises(SettingError, match="holds taxa, but the label map"):
        read_label_map(plain, rules)
    with pytest.raises(SettingError, match=r"no\.csv cannot be read"):
        read_label_map(tmp_path / "no.csv")


def test_more_taxa(tmp_path: Path) -> None:
    extra = tmp_path / "mine.csv"
    extra.write_text("aphia_id,name,rank,parent_id\n999999,Xus,Genus,1100\n", "utf-8")
    found = read_label_map(Path("taxa"), extra)
    assert isinstance(found, TaxonMap)
    assert decided(found, aphia_id="999999") == ("copepod", "")


def test_columns_by_their_names_in_known_sources(tmp_path: Path) -> None:
    table = tmp_path / "PlanktoShare_labels.csv"
    header = ["imageID", "customName", "aphiaID", "Class", "Life_stage", "Depth (m)"]
    assert named(header, table) == {
        "path": "imageID",
        "custom_name": "customName",
        "aphia_id": "aphiaID",
        "class": "Class",
        "life_stage": "Life_stage",
        "depth_m": "Depth (m)",
    }
    darwin = named(["associatedMedia", "scientificNameID", "scientificName", "lifeStage"], table)
    assert set(darwin) == {"path", "aphia_id", "scientific_name", "life_stage"}
    own = tmp_path / "PlanktoShare_labels.columns.csv"
    own.write_text("name,column\naphia_id,worms\nlifeStage,stadium\n", "utf-8")
    assert named(["imageID", "worms", "stadium"], table) == {
        "path": "imageID",
        "aphia_id": "worms",
        "life_stage": "stadium",
    }
    with pytest.raises(SettingError, match=r"names the column 'worms', which .* has not; it has a"):
        named(["a"], table)


@pytest.mark.parametrize("text", ["0", "-5", "x", "3.5", "99999999999", "1080 "])
def test_identifiers(text: str) -> None:
    if text.strip() == "1080":
        assert identifier(text) == 1080
        return
    with pytest.raises(SettingError, match="AphiaID is"):
        identifier(text)
