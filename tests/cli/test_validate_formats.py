"""The sample goes out to other tools, and comes back with the same estimate from each."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import support
from click.testing import CliRunner, Result

from pi10_classifier.classify import Settings, classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.sample import read_sample

NAMES = {"copepod": "Copepoda", "detritus": "detritus", "noncopepod": "Chaetognatha"}
HIERARCHY = {
    "Copepoda": "living>Eukaryota>Opisthokonta>Metazoa>Arthropoda>Crustacea>Copepoda",
    "detritus": "not-living>detritus",
    "Chaetognatha": "living>Eukaryota>Opisthokonta>Metazoa>Chaetognatha",
}


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("formats") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    assert ask("draw", out, "--n", 45).exit_code == 0
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def ask(*words: object) -> Result:
    return CliRunner().invoke(pi10, ["validate", *map(str, words)])


def truth_of(run: Path) -> dict[str, str]:
    """A truth that differs from the model's word, by the place in the sample."""
    classes = list(support.CLASSES)
    return {p.particle_id: classes[(p.order * 7) % 5 % 3] for p in read_sample(run)}


def by_csv(run: Path, home: Path) -> Path:
    sheet = home / "sheet.csv"
    sheet.unlink(missing_ok=True)
    assert ask("export", run, "--out", sheet).exit_code == 0
    rows = support.csv_of(sheet)
    with sheet.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "label": truth_of(run)[row["particle_id"]]})
    return sheet


def by_ecotaxa(run: Path, home: Path) -> Path:
    """As EcoTaxa exports it: a zip with one TSV, a mark at its beginning, with the hierarchy."""
    bundle = home / "bundle.zip"
    assert ask("export", run, "--format", "ecotaxa", "--out", bundle).exit_code == 0
    with zipfile.ZipFile(bundle) as archive:
        (table,) = [name for name in archive.namelist() if name.endswith(".tsv")]
        names, kinds, *lines = csv.reader(
            io.StringIO(archive.read(table).decode("utf-8-sig"), newline=""), delimiter="\t"
        )
        for line in lines:  # every picture is there, and is one
            data = np.frombuffer(archive.read(line[names.index("img_file_name")]), np.uint8)
            assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
    assert set(kinds) <= {"[t]", "[f]"} and len(kinds) == len(names)
    assert not {"acq_sub_part", "object_annotation_category"} & set(names)
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["object_id", "object_annotation_status", "object_annotation_category",
                     "object_annotation_hierarchy", "object_annotation_person_name"])  # fmt: skip
    for line in lines:
        name = line[names.index("object_id")]
        category = NAMES[truth_of(run)[name]]
        writer.writerow([name, "validated", category, HIERARCHY[category], "Anna Bé"])
    export = home / "export.zip"
    with zipfile.ZipFile(export, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ecotaxa_export_1.tsv", text.getvalue().encode("utf-8-sig"))
    return export


def by_label_studio(run: Path, home: Path) -> Path:
    folder = home / "studio"
    assert ask("export", run, "--format", "label-studio", "--out", folder).exit_code == 0
    choices = ElementTree.parse(folder / "labelling.xml").getroot().iter("Choice")
    assert set(support.CLASSES) <= {choice.get("value") for choice in choices}
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    for number, task in enumerate(tasks):
        assert task["data"]["image"].startswith("data:image/png;base64,")
        label = truth_of(run)[task["data"]["particle_id"]]
        answer = {"from_name": "label", "to_name": "image", "type": "choices",
                  "value": {"choices": [label]}}  # fmt: skip
        task |= {"id": number, "annotations": [{"completed_by": 1, "result": [answer]}]}
    export = home / "project.json"
    export.write_text(json.dumps(tasks), "utf-8")
    return export


def by_label_studio_min(run: Path, home: Path) -> Path:
    records = [
        {"particle_id": task["data"]["particle_id"], "annotator": 1, "id": task["id"],
         "label": task["annotations"][0]["result"][0]["value"]["choices"][0]}
        for task in json.loads(by_label_studio(run, home).read_text("utf-8"))
    ]  # fmt: skip
    export = home / "min.json"
    export.write_text(json.dumps(records), "utf-8")
    return export


def by_folders(run: Path, home: Path) -> Path:
    folder = home / "sorted"
    assert ask("crops", run, "--out", folder).exit_code == 0
    again = ask("crops", run, "--out", folder)
    assert "0 pictures" in again.stdout and "45 were there already" in again.stdout
    from pi10_classifier.labelling.formats.given import picture_stem

    for name, label in truth_of(run).items():
        picture = folder / "unsorted" / f"{picture_stem(name)}.png"
        picture.rename(folder / label / picture.name)
    return folder


WAYS: list[Callable[[Path, Path], Path]] = [
    by_csv, by_ecotaxa, by_label_studio, by_label_studio_min, by_folders,
]  # fmt: skip


def test_every_way_gives_the_same_estimate(finished: Path, tmp_path: Path) -> None:
    corrected = {}
    for way in WAYS:
        home = tmp_path / way.__name__
        home.mkdir()
        run = Path(shutil.copytree(finished, home / "run"))
        taken = ask("import", run, way(run, home))
        assert (taken.exit_code, taken.stdout.partition(",")[0]) == (0, "45 labels taken"), taken
        assert ask("estimate", run).exit_code in (0, 3)
        corrected[way.__name__] = (run / "validation/corrected.csv").read_bytes()
        again = ask("import", run, way(run, home) if way is not by_folders else home / "sorted")
        assert again.stdout.startswith("0 labels taken, 45 were known already")
    assert len(set(corrected.values())) == 1
    rows = support.csv_of(tmp_path / "by_csv/run/validation/corrected.csv")
    assert {row["label"]: int(row["labelled_class"]) for row in rows} == {
        label: list(truth_of(finished).values()).count(label) for label in support.CLASSES
    }


def test_what_is_not_validated_unknown_or_contradicting_is_told(run: Path, tmp_path: Path) -> None:
    a, b, c, d, *_ = [p.particle_id for p in read_sample(run)]
    table = tmp_path / "export.tsv"
    lines = [
        "object_id\tobject_annotation_status\tobject_annotation_category",
        f"{a}\tvalidated\tnauplii<Copepoda", f"{b}\tpredicted\tCopepoda",
        f"{c}\tvalidated\tBathochordaeus", f"{d}\tvalidated\tdetritus",
        f"{d}\tvalidated\tCopepoda", "pia7.elsewhere\tvalidated\tCopepoda",
    ]  # fmt: skip
    table.write_text("\n".join(lines) + "\n", "utf-8")
    told = ask("import", run, table)
    assert told.exit_code == 3
    for words in (
        "1 labels taken",
        "1 not taken: predicted in EcoTaxa",
        "'Bathochordaeus', 1 times",
        "1 particles have several labels",
        "'pia7.elsewhere'",
    ):
        assert words in told.output, words
    (label,) = support.csv_of(run / "validation/labels.csv")
    assert (label["particle_id"], label["label"]) == (a, "noncopepod")  # a nauplius is no copepod
    # the user's own table says what a name means, or leaves it out
    own = tmp_path / "map.csv"
    own.write_text("label,class\nBathochordaeus,noncopepod\n", "utf-8")
    assert "1 labels taken, 1 were known" in ask("import", run, table, "--map", own).stdout
    own.write_text("label,class\nBathochordaeus,whale\n", "utf-8")
    with pytest.raises(SettingError, match="class 'whale'; give one of copepod"):
        CliRunner().invoke(
            pi10, ["validate", "import", str(run), str(table), "--map", str(own)],
            catch_exceptions=False, standalone_mode=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "is empty"),
        ("binary.csv", b"particle_id\0label", "is binary"),
        ("utf16.csv", "particle_id,label\n".encode("utf-16"), "UTF-16"),
        ("other.csv", b"name,class\nx,copepod\n", "lacks the column particle_id, label"),
        ("other.tsv", b"object_id\tobject_lat\na\t1\n", "lacks the column object_annotation"),
        ("shape.json", b'[{"text": "whale"}]', "'label', the name of the choices"),
        ("broken.json", b'[{"data": ', "is no JSON"),
        ("list.json", b"[1, 2]", "no list of tasks"),
        ("torn.zip", b"PK\x03\x04 nothing more", "is a damaged zip"),
    ],
)
def test_what_is_no_export_is_refused(
    run: Path, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    refused = ask("import", run, file)
    assert refused.exit_code and words in str(refused.exception), refused.output
    assert not (run / "validation/labels.csv").exists()


def test_a_table_that_unpacks_to_too_much_is_not_read_on(tmp_path: Path) -> None:
    from pi10_classifier.labelling.formats.ecotaxa import read_ecotaxa
    from pi10_classifier.sources.base import Limits

    table = "object_id\tobject_annotation_status\tobject_annotation_category\n" + "a\tb\tc\n" * 9000
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../outside.tsv", table)  # a name is never a place to write to
    assert read_ecotaxa(tmp_path / "export.zip").not_taken
    with pytest.raises(SettingError, match="unpacks to more"):
        read_ecotaxa(tmp_path / "export.zip", Limits(ratio=2, free_bytes=1000))
    assert [path.name for path in tmp_path.iterdir()] == ["export.zip"]


def test_names_of_pictures_hold_on_any_file_system() -> None:
    from pi10_classifier.labelling.formats.crop_folders import folder_name
    from pi10_classifier.labelling.formats.given import picture_stem

    names = ["pia7.2024-06-24.1450+N00000000", "con", "a/b c", "A/b c", "ä" * 300, "", "x" * 300]
    stems = [picture_stem(name) for name in names]
    assert stems[0] == names[0] and len({stem.casefold() for stem in stems}) == len(names)
    assert all(stem.isascii() and len(stem) < 100 and " " not in stem for stem in stems)
    folders = [folder_name(label) for label in ("a/b", "a:b", "nul", "end.", "plain")]
    assert folders[-1] == "plain" and len(set(folders)) == 5
    assert not any(set(name) & set('<>:"/\\|?*') for name in folders)
