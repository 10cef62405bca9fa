"""Tables of taxa and exports of EcoTaxa as labelled images: what is used and what is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.scan import read_rgb, reopen, scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.datasets.split import manifest, split
from pi10_classifier.datasets.taxa.taxon_map import read_label_map
from pi10_classifier.errors import SettingError

TAXA = read_label_map(Path("taxa"))
EXPORT = (
    "img_file_name\timg_rank\tobject_id\tobject_annotation_status\tobject_annotation_category"
    "\tobject_annotation_hierarchy\tsample_id"
)


def image_name(number: int, minute: int = 54) -> str:
    return f"pia7.2024-06-24.14{minute}+N{number:08d}.tif"


def table(path: Path, rows: Sequence[Mapping[str, str]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def planktoshare(tmp_path: Path, noise: Callable[[int], bytes]) -> Path:
    """A table beside the folder of its images, with the columns that are known of PlanktoShare."""
    rows = []
    images = {}
    taxa = (
        ("1080", "Organism", "", "Copepoda"),
        ("1080", "Organism", "Nauplius", "Copepoda nauplius"),
        ("", "Non_taxo_particle", "", "Detritus"),
    )
    for number in range(24):
        aphia_id, particle, stage, name = taxa[number % 3]
        image = image_name(number, 10 + number // 6)
        images[image] = noise(number)
        rows.append(
            {"imageID": image, "customName": name, "aphiaID": aphia_id, "Class": particle,
             "Life_stage": stage}
        )  # fmt: skip
    more = {"customName": "", "Class": "Organism", "Life_stage": ""}
    rows += [
        {**more, "imageID": image_name(90), "aphiaID": "999999"},
        {**more, "imageID": image_name(91), "aphiaID": "106331"},
        {**more, "imageID": image_name(92), "aphiaID": "1080"},
    ]
    images |= {image_name(90): noise(90), image_name(91): noise(91)}  # the last one is missing
    support.write_folder(tmp_path / "PlanktoShare", images)
    return table(tmp_path / "PlanktoShare_labels.csv", rows)


def test_a_table_beside_the_folder_of_its_images(planktoshare: Path) -> None:
    found = scan([planktoshare], TAXA)
    groups = [sample.group for sample in found.samples]
    assert {name: groups.count(name) for name in found.classes} == {
        "copepod": 8,
        "detritus": 8,
        "noncopepod": 9,
    }
    assert {sample.bin for sample in found.samples[:3]} == {"pia7.2024-06-24.1410"}
    assert [(x.member, x.code) for x in found.left_out] == [
        (image_name(90), "unknown_label"),
        (image_name(92), "object_gone"),
    ]
    assert "AphiaID 999999 is not among the" in found.left_out[0].message
    uses = {use.label: (use.group, use.files) for use in found.taxa}
    label = (
        "Copepoda|aphia_id=1080|custom_name=Copepoda nauplius|life_stage=Nauplius|class=Organism"
    )
    assert uses[label] == ("noncopepod", 8)
    assert sum(use.files for use in found.taxa) == 27
    assert {use.group for use in found.taxa} == {"copepod", "noncopepod", "detritus", ""}
    assert any("1434803 was used" in use.note for use in found.taxa)


def test_bins_stay_together_and_the_manifest_is_read_back(planktoshare: Path) -> None:
    samples = split(scan([planktoshare], TAXA).samples, seed=0)
    parts: dict[str, set[str]] = {}
    for sample in samples:
        parts.setdefault(sample.bin, set()).add(sample.split)
    assert all(len(used) == 1 for used in parts.values())
    path = planktoshare.parent / "manifest.csv"
    path.write_text(manifest(samples), "utf-8")
    again = load_labelled([planktoshare], TAXA, path)
    assert [sample.group for sample in again.samples] == [sample.group for sample in samples]
    assert sum(1 for _ in read_rgb(reopen(samples, [planktoshare]), samples)) == len(samples)


def test_a_table_of_taxa_needs_a_label_map(planktoshare: Path) -> None:
    with pytest.raises(SettingError, match="has taxa and no column label; give --label-map taxa"):
        scan([planktoshare])


def test_a_label_table_with_other_columns_is_read_as_before(
    tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    folder = support.write_folder(tmp_path / "set", {"1.png": noise(1), "2.png": noise(2)})
    rows = [
        {"path": "1.png", "label": "a", "scientificName": "Copepoda"},
        {"path": "2.png", "label": "b", "scientificName": ""},
    ]
    found = scan([table(folder / "t.csv", rows)])
    assert [(s.label, s.group) for s in found.samples] == [("a", "a"), ("b", "b")]
    rules = tmp_path / "rules.csv"
    rules.write_text("class,below,when\ncop,1080,\nother,,name=b\n", "utf-8")
    found = scan([folder / "t.csv"], read_label_map(rules))
    assert [s.group for s in found.samples] == ["cop", "other"]


def test_columns_of_other_names(tmp_path: Path, noise: Callable[[int], bytes]) -> None:
    support.write_folder(tmp_path / "pictures", {"1.png": noise(1), "2.tif": noise(2)})
    rows = [{"Bestand": "1.png", "WoRMS": "1080"}, {"Bestand": "2", "WoRMS": "2081"}]
    path = table(tmp_path / "labels.tsv", rows, "\t")
    with pytest.raises(SettingError, match=r"Bestand, WoRMS; it needs .*labels\.columns\.csv can"):
        scan([path], TAXA)
    (tmp_path / "labels.columns.csv").write_text(
        "name,column\npath,Bestand\naphia_id,WoRMS\nfolder,pictures\n", "utf-8"
    )
    found = scan([path], TAXA)
    assert [(s.member, s.group) for s in found.samples] == [
        ("1.png", "copepod"),
        ("2", "noncopepod"),
    ]


def export(rows: Sequence[tuple[str, str, str, str, str]], types: bool = False) -> bytes:
    lines = [EXPORT]
    if types:
        lines.append("\t".join(["[t]", "[f]", "[t]", "[t]", "[t]", "[t]", "[t]"]))
    for image, name, status, category, hierarchy in rows:
        lines.append("\t".join((image, "0", name, status, category, hierarchy, "s1")))
    return "\n".join(lines).encode("utf-8-sig")


@pytest.mark.parametrize("kind", ["zip", "folder", "table"])
def test_an_export_of_ecotaxa(kind: str, tmp_path: Path, noise: Callable[[int], bytes]) -> None:
    copepod = ("validated", "Calanoida<Copepoda", "living>Crustacea>Copepoda>Calanoida")
    rows = [
        ("images/Calanoida__1/1_0.png", image_name(1).removesuffix(".tif"), *copepod),
        ("images/nauplii__2/2_0.png", "o2", "validated", "nauplii<Copepoda", "Copepoda>nauplii"),
        ("images/x__3/3_0.png", "o3", "predicted", "detritus", "not-living>detritus"),
        ("images/y__4/4_0.png", "o4", "validated", "detritus", "not-living>detritus"),
        ("images/gone__5/5_0.png", "o5", *copepod),
    ]
    members = {row[0]: noise(number) for number, row in enumerate(rows[:4])}
    members |= {"ecotaxa_export.tsv": export(rows)}
    if kind != "table":
        members |= {"images/z/6_0.png": noise(6), "notes.tsv": b"a\tb\n1\t2\n"}
    if kind == "zip":
        path = support.write_zip(tmp_path / "export.zip", members)
    else:
        path = support.write_folder(tmp_path / "export", members)
    found = scan([path / "ecotaxa_export.tsv" if kind == "table" else path], TAXA)
    assert [(sample.member[-7:], sample.group) for sample in found.samples] == [
        ("1_0.png", "copepod"),
        ("2_0.png", "noncopepod"),
        ("4_0.png", "detritus"),
    ]
    assert found.samples[0].bin == "pia7.2024-06-24.1454"
    lost = {x.member[-7:]: (x.code, x.message) for x in found.left_out}
    assert lost["3_0.png"][0] == "unknown_label" and "predicted in EcoTaxa" in lost["3_0.png"][1]
    assert lost["5_0.png"][0] == "object_gone"
    assert set(lost) == {"3_0.png", "5_0.png"} | ({"6_0.png"} if kind != "table" else set())


def test_a_backup_of_ecotaxa_has_a_table_a_sample(
    tmp_path: Path, noise: Callable[[int], bytes]
) -> None:
    row = ("1.png", "a", "validated", "Copepoda<Maxillopoda", "")
    other = ("1.png", "b", "validated", "Chaetognatha", "")
    members = {
        "s1/ecotaxa_s1.tsv": export([row], types=True),
        "s1/1.png": noise(1),
        "s2/ecotaxa_s2.tsv": export([other], types=True),
        "s2/1.png": noise(2),
    }
    found = scan([support.write_zip(tmp_path / "backup.zip", members)], TAXA)
    assert [(s.member, s.group) for s in found.samples] == [
        ("s1/1.png", "copepod"),
        ("s2/1.png", "noncopepod"),
    ]
    members["s1/ecotaxa_more.tsv"] = export([("1.png", "a", "validated", "Chaetognatha", "")])
    with pytest.raises(SettingError, match=r"has s1/1\.png as 'Copepoda<Max.* keep one row"):
        scan([support.write_zip(tmp_path / "twice.zip", members)], TAXA)


def test_the_command_shows_each_label_with_its_class(planktoshare: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "data"
    words = ["dataset", str(planktoshare), "--label-map", "taxa", "--out", str(out)]
    done = CliRunner().invoke(pi10, words)
    assert done.exit_code == 3, done.output
    assert "Labels by taxon" in done.output
    assert "warning: 1 labels with 1 files have no class; see left_out.csv" in done.output
    assert (out / "unknown_aphia_ids.txt").read_text("utf-8") == "999999\n"
    facts = json.loads((out / "dataset.json").read_text("utf-8"))
    assert {use["class"]: use["files"] for use in facts["taxa"] if use["files"] > 1} == {
        "copepod": 8,
        "noncopepod": 8,
        "detritus": 8,
    }
    page = (out / "dataset.html").read_text("utf-8")
    assert "Labels by taxon" in page and "Cefas counts nauplii" in page
    assert "999999" in (out / "left_out.csv").read_text("utf-8")
