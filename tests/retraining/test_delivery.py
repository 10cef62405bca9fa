"""What is taken of a delivery, and what is refused: broken and hostile ones too."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from labelled_shapes import picture, sorted_shapes, tar_of, zip_of

from pi10_classifier.labelling.formats.given import picture_stem
from pi10_classifier.retraining.delivery import Delivery, key_of
from pi10_classifier.sources.base import Limits

Deliver = Callable[..., Delivery]


def labels(delivery: Delivery) -> dict[str, str]:
    return {label.particle_id: label.label for label in delivery.labels}


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_sorted_pictures_of_an_archive(
    deliver: Deliver, store: Path, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    delivery = deliver(pack(sorted_shapes(2)), "in/ANNA/x", labeller="ANNA")
    assert delivery.to_dict()["status"] == "accepted"
    assert delivery.to_dict()["labels"] == {"copepod": 2, "detritus": 2, "noncopepod": 2}
    assert {label.labeller for label in delivery.labels} == {"ANNA"}
    assert len(list(store.iterdir())) == len(delivery.pictures) == 6


def test_folders_are_read_as_a_file_manager_leaves_them(deliver: Deliver) -> None:
    members = {
        "sorted/unsorted/a.png": picture("copepod", 1),
        "sorted/copepod/Calanus/B (1).PNG": picture("copepod", 2),
        "sorted/copepod/.DS_Store": b"x",
        "__MACOSX/copepod/._B.png": b"x",
        "sorted/unknown/c.png": picture("detritus", 3),
        "sorted/krill/d.png": picture("noncopepod", 4),
    }
    delivery = deliver(tar_of(members))
    assert labels(delivery) == {"b": "copepod", "c": "unknown"}
    assert set(delivery.pictures) == {"a", "b", "c", "d"}
    [krill] = delivery.untaken
    assert (krill.code, krill.count) == ("unknown_label", 1)
    assert "krill" in krill.reason


def test_a_csv_of_labels(deliver: Deliver) -> None:
    text = "particle_id;label;labeller\na;copepod;ANNA\nb;;ANNA\nc;whale;BO\n"
    delivery = deliver(text.encode())
    assert (delivery.form, labels(delivery)) == ("csv", {"a": "copepod"})
    assert {x.reason for x in delivery.untaken} == {
        "it has no label yet", "'whale' is no class of the model"
    }  # fmt: skip


def test_an_export_of_ecotaxa_with_its_pictures(deliver: Deliver) -> None:
    name = "pia7.2024-06-24.1454+N00000001"
    lines = [
        "object_id\tobject_annotation_status\tobject_annotation_category",
        f"{name}\tvalidated\tcopepod", "b\tpredicted\tcopepod",
    ]  # fmt: skip
    members = {
        "export.tsv": "\n".join(lines).encode(),
        f"images/{picture_stem(name)}.png": picture("copepod", 1),
    }
    delivery = deliver(zip_of(members))
    assert (delivery.form, labels(delivery)) == ("ecotaxa", {name: "copepod"})
    assert delivery.pictures[key_of(name)].bin == "pia7.2024-06-24.1454"
    assert [x.reason for x in delivery.untaken] == ["predicted in EcoTaxa, not validated"]


def test_an_export_of_label_studio(deliver: Deliver) -> None:
    task = {
        "data": {"particle_id": "a", "image": "a.png"},
        "annotations": [{"result": [{"type": "choices", "value": {"choices": ["copepod"]}}]}],
    }
    delivery = deliver(json.dumps([task]).encode())
    assert (delivery.form, labels(delivery)) == ("label-studio", {"a": "copepod"})


def test_of_two_labels_of_one_labeller_none_is_taken(deliver: Deliver) -> None:
    delivery = deliver(b"particle_id,label\na,copepod\na,detritus\nb,copepod\n")
    assert labels(delivery) == {"b": "copepod"}
    assert [x.code for x in delivery.untaken] == ["mislabelled"]


def test_of_two_pictures_of_one_name_the_first_is_taken(deliver: Deliver) -> None:
    members = {"copepod/a.png": picture("copepod", 1), "detritus/A.png": picture("detritus", 2)}
    delivery = deliver(tar_of(members))
    assert labels(delivery) == {"a": "copepod"}
    assert [x.code for x in delivery.untaken] == ["repeated_name"]


def test_a_broken_picture_is_told_and_the_others_are_taken(deliver: Deliver) -> None:
    whole = picture("copepod", 1)
    members = {"copepod/a.png": whole, "copepod/cut.png": whole[:60], "copepod/empty.png": b""}
    delivery = deliver(tar_of(members))
    assert labels(delivery) == {"a": "copepod"}
    assert sorted(x.code for x in delivery.untaken) == ["corrupt_image", "empty_object"]


BOMB = Limits(ratio=10, free_bytes=1000)
REFUSED = {
    "empty": (b"", "empty_object", {}),
    "a picture without a label": (picture("copepod", 1), "unsupported_format", {}),
    "noise": (bytes(range(256)) * 8, "unsupported_format", {}),
    "prose": (b"these are no labels at all", "unsupported_format", {}),
    "no such column": (b"name,class\na,copepod\n", "unsupported_format", {}),
    "no class of the model": (b"particle_id,label\na,whale\n", "unsupported_format", {}),
    "a formula": (b"particle_id,label\na,=cmd|' /C calc'!A0\n", "unsupported_format", {}),
    "a cut zip": (zip_of(sorted_shapes(1))[:300], "archive_corrupt", {}),
    "a cut tar": (tar_of(sorted_shapes(1))[:2000], "archive_corrupt", {}),
    "a bomb": (zip_of({"copepod/a.png": bytes(10**6)}), "archive_limit", {"limits": BOMB}),
    "too many": (tar_of(sorted_shapes(2)), "archive_limit", {"limits": Limits(members=3)}),
    "deep JSON": (b"[" * 100_000, "unsupported_format", {}),
    "not UTF-8": (b"particle_id,label\n\xff\xfe,copepod\n", "unsupported_format", {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_delivery_is_refused_with_its_reason(deliver: Deliver, name: str) -> None:
    data, code, more = REFUSED[name]
    answer = deliver(data, **more).to_dict()
    assert (answer["status"], answer["pictures"], answer["labels"]) == ("refused", 0, {})
    assert answer["refused"]["code"] == code
    assert "/tmp" not in json.dumps(answer)


def test_hostile_names_stay_names(deliver: Deliver, store: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number, name in enumerate(
            ["copepod/../../../evil.png", "/copepod/abs.png", "copepod/<b>x\x1b[0m.png"]
        ):
            data = picture("copepod", number)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("copepod/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    delivery = deliver(stream.getvalue())
    assert all(path.stem.isalnum() and path.parent == store for path in store.iterdir())
    assert {path.name for path in store.parent.iterdir()} == {"pictures", "object"}
    assert "archive_unsafe" in {x.code for x in delivery.untaken}
    text = json.dumps(delivery.to_dict())
    assert "\\u001b" not in text and "passwd" not in text
