import pytest

from pi10_classifier.datasets.label_map import LabelMap
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
