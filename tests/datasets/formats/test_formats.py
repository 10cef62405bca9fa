"""Labels to other tools and back; and files that say too little, too much, or are hostile."""

from __future__ import annotations

import base64
import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.formats.intake import read_label_file
from pi10_classifier.datasets.formats.outlet import FORMATS
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import Scan
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import SettingError
from pi10_classifier.sources.base import Limits

LABEL_OF = {f"{n}.tif": "copepod" if n % 3 else "detritus & co" for n in range(12)}


def ask(*words: object) -> Any:
    return CliRunner().invoke(pi10, list(map(str, words)))


@pytest.fixture(scope="module")
def sorted_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in folders of their class, and in `data` what `pi10 dataset` writes of them."""
    home = tmp_path_factory.mktemp("sorted")
    members = {f"{label}/{name}": support.particle(int(name[:-4]))
               for name, label in LABEL_OF.items()}  # fmt: skip
    support.write_folder(home / "crops", members)
    done = ask("dataset", home / "crops", "--out", home / "data")
    assert done.exit_code == 0, done.output
    return home


@pytest.fixture(scope="module")
def unsorted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images, beside one another in a tar."""
    members = {f"all/{name}": support.particle(int(name[:-4])) for name in LABEL_OF}
    return support.write_tar(tmp_path_factory.mktemp("unsorted") / "crops.tar", members)


def labels_of(found: Scan) -> dict[str, str]:
    return {sample.member.rpartition("/")[2]: sample.group for sample in found.samples}


def left_out(found: Scan) -> dict[str, tuple[str, str]]:
    return {entry.member: (entry.code, entry.message) for entry in found.left_out}


@pytest.mark.parametrize("form", FORMATS)
def test_labels_go_out_and_come_back(
    sorted_set: Path, unsorted: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "labels"
    done = ask("export", "labels", sorted_set / "data", "--format", form, "--out", out)
    assert done.exit_code == 0, done.output
    file = read_label_file(out)
    assert file.form == form
    found = scan([unsorted], labels=file)
    assert labels_of(found) == LABEL_OF
    assert found.left_out == ()
    with pytest.raises(SettingError, match="--overwrite"):
        raise ask("export", "labels", sorted_set / "data", "--format", form, "--out", out).exception


def test_a_split_alone(sorted_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    words = ("export", "labels", sorted_set / "data", "--format", "biigle", "--out", out)
    assert ask(*words, "--split", "train").exit_code == 0
    with (sorted_set / "data/manifest.csv").open(encoding="utf-8", newline="") as stream:
        train = {row["member"] for row in csv.DictReader(stream) if row["split"] == "train"}
    with out.open(encoding="utf-8", newline="") as stream:
        assert {row["filename"] for row in csv.DictReader(stream)} == train


def test_what_is_written_is_of_the_format(sorted_set: Path, tmp_path: Path) -> None:
    data = sorted_set / "data"
    for form in FORMATS:
        assert (
            ask("export", "labels", data, "--format", form, "--out", tmp_path / form).exit_code == 0
        )
    coco = json.loads((tmp_path / "coco").read_text("utf-8"))
    sizes = {image["id"]: [0, 0, image["width"], image["height"]] for image in coco["images"]}
    assert len(sizes) == len(LABEL_OF)
    assert {row["image_id"]: row["bbox"] for row in coco["annotations"]} == sizes
    assert [row["name"] for row in coco["categories"]] == ["copepod", "detritus & co"]
    cvat = ET.fromstring((tmp_path / "cvat").read_bytes())
    tags = {image.get("name"): [tag.get("label") for tag in image] for image in cvat.iter("image")}
    assert tags == {f"{label}/{name}": [label] for name, label in LABEL_OF.items()}
    tasks = json.loads((tmp_path / "label-studio").read_text("utf-8"))
    picture = tasks[0]["data"]["image"].removeprefix("data:image/png;base64,")
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    image = coco["images"][0]
    assert pixels.shape == (image["height"], image["width"], 3)


def test_the_command_takes_labels_and_lists_what_fits_nowhere(
    unsorted: Path, tmp_path: Path
) -> None:
    rows = [(name, label) for name, label in LABEL_OF.items() if name != "3.tif"]
    rows += [("gone.tif", "copepod"), ("4.tif", "detritus & co")]
    text = "filename,label_name\n" + "".join(f"{name},{label}\n" for name, label in rows)
    (tmp_path / "labels.csv").write_text(text, "utf-8")
    done = ask("dataset", unsorted, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "out")
    assert done.exit_code == 3, done.output
    with (tmp_path / "out/left_out.csv").open(encoding="utf-8", newline="") as stream:
        codes = {row["member"]: row["code"] for row in csv.DictReader(stream)}
    assert codes == {
        "all/3.tif": "unknown_label", "gone.tif": "object_gone", "all/4.tif": "mislabelled",
    }  # fmt: skip
    assert "gone.tif" in done.output


def test_a_label_map_tells_the_labels_that_it_does_not_know(unsorted: Path, tmp_path: Path) -> None:
    rows = "".join(f"{n},{'Calanus' if n[0] != '2' else 'snow'}\n" for n in LABEL_OF)
    (tmp_path / "labels.csv").write_text(f"filename,label_name\n{rows}", "utf-8")
    labels = read_label_file(tmp_path / "labels.csv")
    found = scan([unsorted], LabelMap.of({"Calanus": "copepod"}), labels=labels)
    assert set(labels_of(found).values()) == {"copepod"}
    ((code, message),) = left_out(found).values()
    assert code == "unknown_label"
    assert "'snow'" in message


def coco_of(images: list[dict[str, Any]], boxes: list[tuple[int, list[float] | None]]) -> str:
    annotations = [{"id": n, "image_id": image, "category_id": 1, "bbox": box}
                   for n, (image, box) in enumerate(boxes)]  # fmt: skip
    return json.dumps({"images": images, "annotations": annotations,
                       "categories": [{"id": 1, "name": "copepod"}]})  # fmt: skip


def test_boxes_about_a_part_are_no_labels_of_the_image(unsorted: Path, tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(12)]
    whole = [(n, [0, 0, 39.5, 30]) for n in range(10)]
    path = tmp_path / "coco.json"
    path.write_text(coco_of(images, [*whole, (10, [5, 5, 9, 9]), (10, [20, 5, 9, 9])]), "utf-8")
    found = scan([unsorted], labels=read_label_file(path))
    assert len(found.samples) == 10
    told = left_out(found)
    assert "marks 2 parts" in told["all/10.tif"][1]
    assert "no label of it yet" in told["all/11.tif"][1]


def test_names_as_the_tools_write_them(unsorted: Path, tmp_path: Path) -> None:
    """Of an upload with its prefix, of local files, of a bucket, and as annotated JSON-MIN."""
    addresses = [
        "/data/upload/7/0a1b2c3d-0.png", "/data/local-files/?d=set/all/1.png",
        "s3://bucket/all/2.png", "https://example.org/all/3.png?key=1",
    ]  # fmt: skip
    records = [{"image": name, "label": "copepod", "annotator": 1} for name in addresses]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(records), "utf-8")
    found = scan([unsorted], labels=read_label_file(path))
    assert set(labels_of(found)) == {"0.tif", "1.tif", "2.tif", "3.tif"}
    assert sum(code == "unknown_label" for code, _ in left_out(found).values()) == 8


def test_labellers_who_differ(unsorted: Path, tmp_path: Path) -> None:
    def answer(label: str, **other: object) -> dict[str, Any]:
        value = {"choices": [label]}
        result = {"from_name": "label", "type": "choices", "value": value}
        return {"result": [result], **other}

    tasks = [{"data": {"name": f"{n}.tif"}, "annotations": [answer("copepod")]} for n in range(12)]
    tasks[5]["annotations"] = [answer("copepod"), answer("detritus")]
    tasks[6]["annotations"] = [answer("copepod"), answer("detritus", was_cancelled=True)]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks), "utf-8")
    found = scan([unsorted], labels=read_label_file(path))
    assert {name: code for name, (code, _) in left_out(found).items()} == {
        "all/5.tif": "mislabelled"
    }


def test_a_name_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    support.write_folder(tmp_path / "set", {f"{day}/1.tif": support.particle(n)
                                            for n, day in enumerate(("mon", "tue"))})  # fmt: skip
    (tmp_path / "labels.csv").write_text("filename,label_name\n1.tif,copepod\n", "utf-8")
    with pytest.raises(SettingError, match=r"fits set: mon/1\.tif and set: tue/1\.tif"):
        scan([tmp_path / "set"], labels=read_label_file(tmp_path / "labels.csv"))
    text = "filename,label_name\nmon/1.tif,copepod\nset/tue/1.png,copepod\n"
    (tmp_path / "labels.csv").write_text(text, "utf-8")
    found = scan([tmp_path / "set"], labels=read_label_file(tmp_path / "labels.csv"))
    assert {sample.member for sample in found.samples} == {"mon/1.tif", "tue/1.tif"}
    assert found.left_out == ()


def test_the_zip_that_a_tool_hands_out(unsorted: Path, sorted_set: Path, tmp_path: Path) -> None:
    ask("export", "labels", sorted_set / "data", "--format", "cvat", "--out", tmp_path / "x.xml")
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.write(tmp_path / "x.xml", "annotations.xml")
        archive.writestr("images/0.png", b"\x89PNG")
    found = scan([unsorted], labels=read_label_file(tmp_path / "job.zip"))
    assert labels_of(found) == LABEL_OF


IMAGE = '<image id="0" name="0.png" width="4" height="4"><tag label="a"/></image>'
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa">'
    '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><annotations><image name="&b;"/></annotations>'
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type"),
        (f"<annotations>{'<meta>' * 200}", "elements in 100 others"),
        (f"<annotations>{IMAGE}", "no XML"),
        ("<html></html>", "not <annotations>"),
        ("<annotations><image id='0'/></annotations>", "no name"),
        ("<annotations><track id='0'/></annotations>", "video"),
        ("<annotations></annotations>", "no label of a whole image"),
        ("<annotations><image name='a'><box label='x'/></image></annotations>", "1 marks"),
        ("", "empty"),
        ("{", "no JSON"),
        ("[" * 5000, "no JSON"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": 1}]}', "no image 1"),
        ('{"images": [{"id": 1}], "annotations": []}', "file_name"),
        ('{"images": {"a": 1}, "annotations": []}', "no COCO"),
        (coco_of([{"id": 1, "file_name": "a"}] * 2, []), "one id"),
        ('[{"data": {"score": 1}}]', "address of an image"),
        ("name,label\na,b\n", "lacks the column filename, label_name"),
        ("filename,label_name\n,copepod\n", "no filename"),
        ("filename,label_name,shape_name\n1.png,copepod,Circle\n", "1 marks"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "labels"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingError, match=words):
        read_label_file(path)


def large(path: Path) -> None:
    path.write_text(f"<annotations>{' ' * 5000}{IMAGE}</annotations>", "utf-8")


def large_in_a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", f"<annotations>{' ' * 5000}{IMAGE}</annotations>")


def two_in_a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.xml", IMAGE)
        archive.writestr("b.json", "[]")


def cut_zip(path: Path) -> None:
    two_in_a_zip(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations.xml", f"<annotations>{IMAGE}</annotations>")
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (large, "the cap is 4,000"),
        (large_in_a_zip, "the cap is 4,000"),
        (two_in_a_zip, "2 files of labels"),
        (cut_zip, "damaged"),
    ],
)
def test_files_that_are_too_large_or_damaged(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    write(tmp_path / "labels")
    with pytest.raises(SettingError, match=words):
        read_label_file(tmp_path / "labels", Limits(member_bytes=4000))


def test_names_that_xml_cannot_hold(sorted_set: Path, tmp_path: Path) -> None:
    text = (sorted_set / "data/manifest.csv").read_text("utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.csv").write_text(text.replace("/1.tif", "/\x01.tif"), "utf-8")
    done = ask("export", "labels", tmp_path / "data", "--format", "cvat", "--out", tmp_path / "x")
    assert isinstance(done.exception, SettingError)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
