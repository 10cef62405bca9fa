import base64
import csv
import hashlib
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import support
from click.testing import CliRunner

pytest.importorskip("matplotlib", reason="the page needs the extra 'report'")
pytest.importorskip("jinja2", reason="the page needs the extra 'report'")

from pi10_classifier.cli import pi10
from pi10_classifier.datasets import report, scan, split
from pi10_classifier.errors import OutputError, SettingError

FILES = {"croissant.json", "manifest.csv", "left_out.csv", "dataset.json", "dataset.html"}
ODD = "<b>&co"


def darker(png):
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", (image * 0.9).astype(np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
    """60 images of two classes, an exact pair, a near one under two classes, one broken."""
    rng = np.random.default_rng(0)

    def image():
        grain = cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (int(rng.integers(30, 150)), 60))
        return cv2.imencode(".png", grain)[1].tobytes()

    members = {f"cop/x/{i}.png": image() for i in range(40)}
    members |= {f"{ODD}/{i}.png": image() for i in range(20)}
    members["cop/y/twin.png"] = members["cop/x/3.png"]
    members[f"{ODD}/near.png"] = darker(members["cop/x/5.png"])
    members["cop/broken.png"] = b"\x89PNG\r\n\x1a\n"
    return support.write_tar(tmp_path_factory.mktemp("set") / "set.tar", members)


@pytest.fixture(scope="module")
def found(tar):
    return scan.scan([tar])


@pytest.fixture(scope="module")
def out(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new"
    report.write_dataset(found, split.split(found.samples), folder)
    return folder


@pytest.fixture(scope="module")
def facts(out):
    return json.loads((out / "dataset.json").read_text())


def test_figures_are_those_of_the_data(facts, out, tar):
    assert facts["images"] == 62
    assert facts["totals"] == {"cop": 41, ODD: 21}
    assert facts["imbalance_ratio"] == round(41 / 21, 3)
    per_split = facts["counts"]
    assert {x: sum(per_split[part][x] for part in split.SPLITS) for x in ("cop", ODD)} == {
        "cop": 41, ODD: 21,
    }  # fmt: skip
    assert facts["imbalance_ratio_train"] == round(
        per_split["train"]["cop"] / per_split["train"][ODD], 3
    )
    assert facts["left_out"] == {"corrupt_image": 1}
    assert facts["sources"]["set"]["path"] == str(tar)
    assert facts["labels"][1] == {"source": "set", "label": "cop/x", "class": "cop", "images": 40}
    assert facts["leaks"] == []
    text = (out / "manifest.csv").read_bytes()
    assert facts["manifest_sha256"] == hashlib.sha256(text).hexdigest()


def test_sizes_are_quantiles_of_the_longest_side(facts, found):
    sides = sorted(max(s.width, s.height) for s in found.samples if s.group == ODD)
    said = facts["longest_side_px"][ODD]
    assert (said["smallest"], said["median"], said["largest"]) == (sides[0], sides[10], sides[-1])


def test_duplicates_are_counted_and_those_under_two_classes_named(facts):
    told = facts["duplicates"]
    assert (told["exact_groups"], told["exact_images"]) == (1, 2)
    assert (told["near_groups"], told["near_images"]) == (1, 2)
    assert (told["images"], told["largest_group"]) == (4, 2)
    (group,) = told["under_two_classes"]
    assert [x["member"] for x in group] == [f"{ODD}/near.png", "cop/x/5.png"]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.pictures, self.text = [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        if tag == "img":
            self.pictures[values["alt"]] = values["src"]

    def handle_data(self, data):
        self.text += data


def test_page_is_complete_in_itself_and_escapes_names(out):
    text = (out / "dataset.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"""(src|href)=["'](?!data:|\#)""", text)
    assert "<b>&co" not in text
    assert ODD in page.text
    assert "cop › " not in page.text
    assert "set › cop/broken.png" in page.text
    kind, code = page.pictures["Images of class cop"].split(",")
    assert kind == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (3 * 96, 10 * 96, 3)
    assert len(page.pictures) == 2 + 2 + 1, "sheets, the near pair, the sizes"


def test_same_data_same_bytes_whatever_was_there(found, out, tmp_path):
    report.write_dataset(found, split.split(found.samples), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_tiles_are_shrunk_never_enlarged():
    small = report.tile(np.zeros((10, 20, 3), np.uint8))
    assert (small == 0).all(axis=2).sum() == 200
    large = report.tile(np.zeros((4000, 2000, 3), np.uint8))
    rows, columns = np.nonzero((large == 0).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (92, 46)


def test_sheet_takes_turns_of_the_sources():
    samples = [
        scan.Sample(source, f"{i}.png", "a", "a", sha256=f"{i:03d}")
        for source, n in (("large", 200), ("small", 5))
        for i in range(n)
    ]
    chosen = report._spread(samples, "a")
    assert sum(s.source == "small" for s in chosen) == 5
    assert len(chosen) == 30


def test_folder_that_cannot_be_written_is_a_plain_error(found, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        report.write_dataset(found, split.split(found.samples), tmp_path / "file")


def run(*arguments):
    return CliRunner().invoke(pi10, ["dataset", *map(str, arguments)])


def test_command_writes_all_and_says_what_is_left_out(tar, tmp_path):
    out = tmp_path / "out"
    labels = tmp_path / "map.csv"
    labels.write_text("label,class\ncop/*,copepod\ncop,copepod\ncopepd,copepod\n*,other\n")
    result = run(tar, "--out", out, "--label-map", labels)
    assert result.exit_code == 3, result.output
    assert "left out: 1 x corrupt_image, such as set: cop/broken.png: " in result.output
    assert "perhaps misspelt: copepd" in result.output
    assert "duplicates: 4 images in groups that share a split; 1 of the groups" in result.output
    assert "may be misspelt: <code>copepd</code>" in (out / "dataset.html").read_text("utf-8")
    assert {p.name for p in out.iterdir()} == FILES
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["group"] for row in rows} == {"copepod", "other"}
    again = run(tar, "--out", out, "--label-map", labels)
    assert again.exit_code == 3, "the same manifest may be written again"
    other = run(tar, "--out", out, "--label-map", labels, "--split-seed", 1)
    assert isinstance(other.exception, SettingError)
    assert "holds another split" in other.exception.message
    assert run(tar, "--out", out, "--split-seed", 1, "--overwrite").exit_code == 3


def test_command_without_failures_returns_0_though_labels_are_left_out(tar, tmp_path):
    labels = tmp_path / "map.csv"
    labels.write_text("label,class\ncop/x,copepod\n*,-\n")
    result = run(tar, "--out", tmp_path / "out", "--label-map", labels)
    assert result.exit_code == 0, "what the map leaves out is no failure"
    assert "23 x label_left_out" in result.output
    assert "'copepod' is the only class" in result.output


def test_command_says_what_was_left_out_before_a_refused_split(tar, tmp_path):
    labels = tmp_path / "map.csv"
    labels.write_text("label,class\ncop/y,twin\ncop/x,-\n*,other\n")
    result = run(tar, "--out", tmp_path / "out", "--label-map", labels)
    assert "left out: 1 x corrupt_image" in result.output
    assert isinstance(result.exception, SettingError)


def test_command_refuses_a_file_as_folder_before_the_work(tar, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run(tmp_path / "absent.tar", "--out", tmp_path / "file")
    assert "is a file; name a folder" in result.exception.message


def test_table_whose_splits_part_duplicates_is_warned_of(tmp_path, noise):
    support.write_folder(tmp_path, {f"{i}.png": noise(i) for i in range(40)})
    lines = ["path,label,bin,split"]
    lines += ["0.png,a,day,train", "1.png,b,day,test"]
    lines += [f"{i}.png,{'ab'[i % 2]},," for i in range(2, 40)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = run(tmp_path / "t.csv", "--out", tmp_path / "out")
    assert "warning: 1 bins or groups of duplicates lie in several splits" in result.output


def test_interrupted_command_writes_nothing_and_speaks_of_no_resume(tar, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scan, "fingerprint", stopped)
    result = run(tar, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "interrupted; nothing was written: run the same command again" in result.output
    assert not (tmp_path / "out").exists()
