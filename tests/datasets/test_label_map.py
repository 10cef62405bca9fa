import csv
from pathlib import Path

import pytest

from pi10_classifier.datasets.label_map import LEFT_OUT, LabelMap, shipped
from pi10_classifier.errors import SettingError


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "map.csv"
    path.write_text(text, encoding)
    return path


def test_whole_labels_last_folders_globs_and_leaving_out(tmp_path):
    path = write(
        tmp_path,
        "label,class\ncopepod/*,copepod\nfaeces,detritus\ncopepod/cyclopoid,small\nunknown_*,-\n",
        "utf-8-sig",
    )
    labels = LabelMap.read(path)
    assert labels.classes == ("copepod", "detritus", "small")
    assert labels.group("copepod/calanoid") == "copepod"
    assert labels.group("copepod/calanoid/eggs") == "copepod"
    assert labels.group("copepod/cyclopoid") == "small", "a plain rule comes before a glob"
    assert labels.group("isiis/2013/faeces") == "detritus"
    assert labels.group("other/unknown_stick") == "-"
    assert labels.group("faeces/old") is None
    assert labels.group("Copepod/calanoid") is None, "case counts"


def test_first_of_several_globs_counts():
    labels = LabelMap.of({"hydro*": "jelly", "*": "rest"})
    assert [labels.group(x) for x in ("hydromedusa", "a/hydroid", "fish")] == [
        "jelly",
        "jelly",
        "rest",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na,b\n", "has the columns name, class; its first line must be: label,class"),
        ("", "has the columns none"),
        ("label,class\na,b\nc,\n", "line 3: label 'c', class ''"),
        ("label,class\n,b\n", "line 2"),
        ("label,class\na,-\n", "the label map has no class"),
        ("label,class\na,b\na,c\n", "'a' is given to 'b' and to 'c'"),
    ],
)
def test_map_that_cannot_be_used_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(SettingError, match=message):
        LabelMap.read(write(tmp_path, text))


def test_map_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"absent\.csv cannot be read: No such file"):
        LabelMap.read(tmp_path / "absent.csv")
    with pytest.raises(SettingError, match="not UTF-8"):
        LabelMap.read(write(tmp_path, "label,class\nmanét,b\n", "utf-16"))


GROUPED = "label,class,group,why\ncope*,copepod,,\nmedusa,animal,jelly,soft\nsalp,animal, jelly ,\n"


def test_groups_within_the_classes(tmp_path):
    labels = LabelMap.read(write(tmp_path, GROUPED + "krill,animal,,\n"))
    assert labels.classes == ("animal", "copepod")
    names = ("x/medusa", "salp", "krill", "copepod", "whale")
    assert [labels.finer_group(x) for x in names] == ["jelly", "jelly", "", "", ""]
    assert labels.unused(["medusa", "copepod"]) == ("salp", "krill")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fish,-,jelly,", "'fish' is left out, but has the group 'jelly'"),
        ("fish,fish,jelly,", "the group 'jelly' is in the classes 'animal' and 'fish'"),
        ("fish,animal,copepod,", "'copepod' of 'animal' has the name of another class"),
        ("fish,animal,Jelly,", "differ only in case"),
        ("medusa,animal,fish,", "line 5: 'medusa' has the group 'fish', and 'jelly' above"),
        ("medusa,animal,,", "'medusa' has the group '', and 'jelly' above"),
    ],
)
def test_groups_that_contradict_are_refused(tmp_path, line, message):
    with pytest.raises(SettingError, match=message):
        LabelMap.read(write(tmp_path, f"{GROUPED}{line}\n"))


def test_maps_that_ship_are_known_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = LabelMap.read(Path("cefas"))
    assert labels.classes == ("copepod", "detritus", "noncopepod")
    assert labels.unused(["copepod/Calanus"]) == (), "it has the labels of several sources"
    with pytest.raises(SettingError, match="one that ships with the program: cefas, taxa"):
        LabelMap.read(Path("cefass"))
    write(tmp_path, "label,class\na,b\n").rename(tmp_path / "cefas")
    assert LabelMap.read(Path("cefas")).classes == ("b",), "a file of that name comes first"


def test_the_scheme_of_cefas():
    labels = LabelMap.read(shipped()["cefas"])
    assert set(labels.groups.values()) == {
        "copepod", "nauplius", "other_crustacean", "gelatinous", "other_animal", "protist",
        "phytoplankton", "bubble_or_artefact", "aggregate", "fibre", "speck",
    }  # fmt: skip
    wanted = {
        "other/Nauplius": ("noncopepod", "nauplius"),
        "other/diatom_chain_tube": ("noncopepod", "phytoplankton"),
        "noncopepod/Radiolarian": ("noncopepod", "protist"),
        "crops/air bubbles": ("noncopepod", "bubble_or_artefact"),
        "other/Dot": ("detritus", "speck"),
        "detritus/detritus_other": ("detritus", ""),
        "other/trichodesmium_puff": (LEFT_OUT, ""),
    }
    for label, told in wanted.items():
        assert (labels.group(label), labels.finer_group(label)) == told
    assert labels.group("other/never_heard_of") is None


def test_every_line_of_a_map_that_ships_says_why():
    for path in shipped().values():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len({row["label"] for row in rows}) == len(rows), path
        for row in rows:
            assert len(row["why"].split()) > 0, (path, row["label"])
