import csv
import hashlib
import io
from collections import Counter

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import support
import tars

from pi10_classifier.datasets import scan
from pi10_classifier.datasets.label_map import LabelMap
from pi10_classifier.datasets.records import left_out_csv
from pi10_classifier.errors import SettingError

PI10 = "pia7.2024-06-24.1454+N00000012.tif"


def table(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.fixture
def members(noise):
    """Six images of two classes, a text and a folder entry."""
    images = {f"{g}/{g}_{i % 2}/{i}.png": noise(10 * k + i) for k, g in enumerate("ab")
              for i in range(3)}  # fmt: skip
    return {"readme.txt": b"hello", "a/": b"", **images}


def write(kind, tmp_path, members):
    if kind == "folder":
        return support.write_folder(tmp_path / "set", members)
    writer = support.write_zip if kind == "zip" else support.write_tar
    return writer(tmp_path / f"set.{kind}", members)


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_trees_and_archives_give_the_same_samples(kind, tmp_path, members):
    path = write(kind, tmp_path, members)
    found = scan.scan([path])
    assert found.classes == ("a", "b")
    assert found.left_out == ()
    assert dict(found.origins) == {"set": path}
    names = sorted(name for name in members if name.endswith(".png"))
    assert [(s.source, s.member, s.label, s.group) for s in found.samples] == [
        ("set", name, name.rpartition("/")[0], name[0]) for name in names
    ]
    for s in found.samples:
        assert s.sha256 == hashlib.sha256(members[s.member]).hexdigest()
        image = cv2.imdecode(np.frombuffer(members[s.member], np.uint8), cv2.IMREAD_COLOR)
        assert (s.height, s.width) == image.shape[:2]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_bring_labels_bins_splits_and_sources(suffix, tmp_path, noise):
    folder = support.write_folder(
        tmp_path / "crops", {"1.png": noise(1), "sub/2.png": noise(2), PI10: noise(3)}
    )
    elsewhere = support.write_folder(tmp_path / "else", {"4.png": noise(4)}) / "4.png"
    rows = [
        {"path": "1.png", "label": "x/y", "bin": "b1", "split": "test", "source": "one"},
        {"path": "sub/2.png", "label": "z", "bin": "", "split": "", "source": "one"},
        {"path": PI10, "label": "x", "bin": "", "split": "", "source": ""},
        {"path": str(elsewhere), "label": "z", "bin": "0", "split": "train", "source": ""},
    ]
    path = table(folder / f"labels{suffix}", rows)
    found = scan.scan([path])
    assert found.classes == ("x", "z")
    assert dict(found.origins) == {"one": path, "labels": path}
    got = {s.member: (s.source, s.label, s.group, s.bin, s.split) for s in found.samples}
    assert got == {
        "1.png": ("one", "x/y", "x", "b1", "test"),
        "sub/2.png": ("one", "z", "z", "", ""),
        PI10: ("labels", "x", "x", "pia7.2024-06-24.1454", ""),
        str(elsewhere): ("labels", "z", "z", "0", "train"),
    }
    read = {s.member: rgb.shape for s, rgb in scan.read_rgb(found, found.samples)}
    assert read == {s.member: (s.height, s.width, 3) for s in found.samples}


def test_bin_is_read_from_the_instruments_names(tmp_path, noise):
    path = support.write_tar(tmp_path / "x.tar", {f".\\a\\RawImages\\{PI10}": noise(1)})
    (sample,) = scan.scan([path]).samples
    assert (sample.bin, sample.label) == ("pia7.2024-06-24.1454", "a/RawImages")


def test_archives_in_a_folder_are_sources_of_their_own(tmp_path, noise):
    root = support.write_folder(tmp_path / "all", {"a/1.png": noise(1)})
    support.write_tar(root / "day" / "1450.tar.gz", {"a/1.png": noise(2), "b/2.png": noise(3)})
    found = scan.scan([root])
    assert set(found.origins) == {"all", "all/day/1450"}
    assert [(s.source, s.member) for s in found.samples] == [
        ("all", "a/1.png"), ("all/day/1450", "a/1.png"), ("all/day/1450", "b/2.png"),
    ]  # fmt: skip
    assert len(list(scan.read_rgb(found, found.samples))) == 3


def test_every_file_is_kept_or_left_out_with_its_code(tmp_path, noise):
    good, twin = noise(1), noise(2)
    members = {
        "a/good.png": good, "a/again.png": good, "b/good.png": noise(3),
        "a/wrong.png": twin, "b/wrong.png": twin,
        "a/cut.png": noise(4)[:60], "a/empty.jpg": b"", "b/text.png": b"no image",
        "c/what.png": noise(5), "junk/x.png": noise(6), "loose.png": noise(7),
    }  # fmt: skip
    labels = LabelMap.of({"a": "A", "b": "B", "junk": "-"})
    found = scan.scan([support.write_tar(tmp_path / "x.tar", members)], labels)
    assert [s.member for s in found.samples] == ["a/again.png", "a/good.png", "b/good.png"]
    assert {x.member: x.code for x in found.left_out} == {
        "a/wrong.png": "mislabelled", "b/wrong.png": "mislabelled",
        "a/cut.png": "corrupt_image", "a/empty.jpg": "empty_object",
        "b/text.png": "unsupported_format", "c/what.png": "unknown_label",
        "junk/x.png": "label_left_out", "loose.png": "unknown_label",
    }  # fmt: skip
    (wrong,) = [x for x in found.left_out if x.member == "a/wrong.png"]
    assert wrong.message.startswith("is 'A' here, and 'B' as x: b/wrong.png;")
    rows = list(csv.DictReader(io.StringIO(left_out_csv(found.left_out))))
    assert len(rows) == 8
    assert rows[0].keys() == {"source", "member", "code", "message"}


def test_name_that_comes_twice_is_used_once(tmp_path, noise):
    path = tmp_path / "x.tar"
    support.write_tar(path, {"a/1.png": noise(1), "./a/1.png": noise(2), "b/1.png": noise(3)})
    found = scan.scan([path])
    assert [(x.member, x.code) for x in found.left_out] == [("a/1.png", "repeated_name")]
    assert len(list(scan.read_rgb(found, found.samples))) == 2


def test_pictures_of_a_format_not_read_are_listed_and_other_files_passed_over(tmp_path, noise):
    members = {"a/1.png": noise(1), "a/2.BMP": b"BM", "a/3.webp": b"RIFF", "a/._4.bmp": b"x",
               "a/Thumbs.db": b"x", "b/5.gif": b"GIF89a"}  # fmt: skip
    labels = LabelMap.of({"a": "A", "b": "-"})
    found = scan.scan([support.write_tar(tmp_path / "x.tar", members)], labels)
    assert [(x.member, x.code) for x in found.left_out] == [
        ("a/2.BMP", "unsupported_format"), ("a/3.webp", "unsupported_format"),
        ("b/5.gif", "label_left_out"),
    ]  # fmt: skip


@pytest.mark.parametrize("labels", [None, LabelMap.of({"a": "a", "b": "b"})])
def test_class_whose_files_are_all_left_out_is_refused(tmp_path, noise, labels):
    path = support.write_tar(tmp_path / "x.tar", {"a/1.png": noise(1), "b/2.png": b"no"})
    with pytest.raises(SettingError, match=r"class 'b' has no usable image.* x: b/2\.png: content"):
        scan.scan([path], labels)
    same = support.write_tar(tmp_path / "y.tar", {"a/1.png": noise(1), "a/2.png": noise(2),
                                                  "b/2.png": noise(2)})  # fmt: skip
    with pytest.raises(SettingError, match=r"class 'b' has no usable image.* is 'b' here, and 'a'"):
        scan.scan([same], labels)


def test_damaged_archive_in_a_folder_is_listed_and_named_alone_refused(tmp_path, noise):
    root = support.write_folder(tmp_path / "all", {"bad.tar": b"no archive at all" * 99})
    support.write_tar(root / "good.tar", {"a/1.png": noise(1)})
    found = scan.scan([root])
    assert [s.source for s in found.samples] == ["all/good"]
    assert [(x.source, x.code) for x in found.left_out] == [("all/bad", "archive_corrupt")]
    with pytest.raises(SettingError, match=r"bad\.tar has no usable image .*1 archive_corrupt"):
        scan.scan([root / "bad.tar", root / "good.tar"])


def test_lines_of_the_label_map_that_no_file_has_are_told(tmp_path, noise):
    path = support.write_tar(
        tmp_path / "x.tar", {"a/pellet.x/1.png": noise(1), "b/2.png": noise(2)}
    )
    labels = LabelMap.of({"pelet.x": "A", "b": "B", "a/*": "B", "*": "A", "z*": "-"})
    with pytest.raises(SettingError, match="leaves class 'A' empty"):
        scan.scan([path], labels)
    labels = LabelMap.of({"pelet.x": "A", "b": "A", "a/*": "B", "z*": "-"})
    assert scan.scan([path], labels).unused_rules == ("pelet.x", "z*")
    assert scan.scan([path]).unused_rules == ()


def test_cut_archive_keeps_what_came_before(tmp_path, members):
    path = write("tar", tmp_path, members)
    path.write_bytes(path.read_bytes()[: -4096 - 10240])
    found = scan.scan([path])
    assert found.left_out[-1].code == "archive_corrupt"
    assert 1 <= len(found.samples) < 6


def test_nothing_usable_is_a_plain_error(tmp_path, noise):
    bad = support.write_tar(tmp_path / "bad.tar", {"a/1.png": b"no", "a/2.png": b"no"})
    with pytest.raises(SettingError, match=r"no usable image.*2 unsupported_format; first: a/1"):
        scan.scan([bad])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingError, match="holds no file"):
        scan.scan([tmp_path / "empty"])
    with pytest.raises(SettingError, match="does not exist"):
        scan.scan([tmp_path / "absent"])
    (tmp_path / "x.png").write_bytes(noise(1))
    with pytest.raises(SettingError, match="neither a folder, a tar or zip, nor"):
        scan.scan([tmp_path / "x.png"])


def test_label_map_that_leaves_a_class_empty_is_refused(tmp_path, noise):
    path = support.write_tar(tmp_path / "x.tar", {"a/1.png": noise(1), "copepods/2.png": noise(2)})
    labels = LabelMap.of({"a": "A", "copepod": "C"})
    with pytest.raises(SettingError, match=r"class 'C' empty.*labels without a line: copepods"):
        scan.scan([path], labels)


def test_sources_of_one_name_are_refused(tmp_path, noise):
    paths = [
        support.write_tar(tmp_path / folder / "x.tar", {"a/1.png": noise(1)}) for folder in "pq"
    ]
    with pytest.raises(SettingError, match="would both be the source 'x'; rename one"):
        scan.scan(paths)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"file": "1.png", "label": "a"}], "has the columns file, label; it needs path and"),
        ([{"path": "", "label": "a"}], "row 1 has no path"),
        ([{"path": "1.png", "label": "a", "split": "val"}], "row 1: split is 'val'; it must be"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_that_cannot_be_used_is_refused(suffix, rows, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        scan.scan([table(tmp_path / f"t{suffix}", rows)])


def test_damaged_and_empty_tables_are_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(SettingError, match="cannot be read"):
        scan.scan([tmp_path / "t.parquet"])
    (tmp_path / "t.csv").write_text("path,label\n")
    with pytest.raises(SettingError, match="has no rows"):
        scan.scan([tmp_path / "t.csv"])
    (tmp_path / "t.csv").write_text("path,label,label\n1.png,a,b\n")
    with pytest.raises(SettingError, match="has the column label 2 times"):
        scan.scan([tmp_path / "t.csv"])
    (tmp_path / "t.csv").write_text("path,label\n1,2.png,a\n")
    with pytest.raises(SettingError, match="row 1 has more cells"):
        scan.scan([tmp_path / "t.csv"])


def test_rows_of_lost_files_are_left_out(tmp_path, noise):
    support.write_folder(tmp_path, {"1.png": noise(1), "notes.doc": b"text", "2.png": noise(2)})
    rows = [
        {"path": "1.png", "label": "a"}, {"path": "gone.png", "label": "a"},
        {"path": "notes.doc", "label": "a"}, {"path": "2.png", "label": ""},
        {"path": ".", "label": "a"},
    ]  # fmt: skip
    found = scan.scan([table(tmp_path / "t.csv", rows)])
    assert [s.member for s in found.samples] == ["1.png"]
    assert {x.member: x.code for x in found.left_out} == {
        "gone.png": "object_gone", "notes.doc": "unsupported_format",
        "2.png": "unknown_label", ".": "object_unreadable",
    }  # fmt: skip


def test_scan_is_the_same_whatever_the_threads_and_says_how_far_it_is(shapes):
    inputs = [shapes / "light.tar", shapes / "black.tar"]
    said = []
    one = scan.scan(inputs, threads=1, progress=said.append)
    assert said == list(range(1, 323))
    assert scan.scan(inputs, threads=5) == one
    assert Counter((s.source, s.group) for s in one.samples) == {
        (source, group): 40
        for source in ("light", "black")
        for group in ("copepod", "detritus", "noncopepod", "other")
    }


def test_images_are_read_again_by_manifest_alone_and_changed_if_asked(tmp_path, members):
    path = write("tar", tmp_path, members)
    samples = scan.scan([path]).samples
    again = scan.reopen(samples, [path])
    assert again.classes == ("a", "b")
    plain = {s.member: rgb for s, rgb in scan.read_rgb(again, samples[:4])}
    assert set(plain) == {s.member for s in samples[:4]}
    for s, rgb in scan.read_rgb(again, samples[:4], change={"set": lambda x: 255 - x}):
        np.testing.assert_array_equal(rgb, 255 - plain[s.member])
    with pytest.raises(SettingError, match="source 'set' is not among the inputs"):
        scan.reopen(samples, [write("zip", tmp_path / "o", members).rename(tmp_path / "o.zip")])


def test_file_changed_or_gone_since_the_scan_is_named(tmp_path, members, noise):
    folder = write("folder", tmp_path, members)
    found = scan.scan([folder])
    (folder / "b/b_0/2.png").write_bytes(noise(99))
    with pytest.raises(SettingError, match=r"b/b_0/2\.png has SHA-256 .*scan and split again"):
        list(scan.read_rgb(found, found.samples))
    (folder / "b/b_0/2.png").unlink()
    with pytest.raises(SettingError, match=r"no longer holds b/b_0/2\.png \(1 gone\)"):
        list(scan.read_rgb(found, found.samples))


def test_labels_are_composed_and_stripped(tmp_path, noise):
    names = ["copepod/1.png", "copepod /2.png", "caf\u00e9/3.png", "cafe\u0301/4.png"]
    found = scan.scan([support.write_folder(
        tmp_path / "set", {name: noise(n) for n, name in enumerate(names)})])  # fmt: skip
    assert found.classes == ("caf\u00e9", "copepod")
    assert Counter(s.label for s in found.samples) == {"caf\u00e9": 2, "copepod": 2}


def test_labels_that_differ_in_case_are_refused_or_merged_by_the_map(tmp_path, noise):
    names = ["copepod/1.png", "Copepod/2.png", "detritus/3.png"]
    root = support.write_folder(tmp_path / "set", {n: noise(k) for k, n in enumerate(names)})
    if len(list(root.iterdir())) < 3:
        pytest.skip("the file system knows no case")
    with pytest.raises(SettingError, match="'Copepod' and 'copepod' differ only in case"):
        scan.scan([root])
    merged = LabelMap.of({"copepod": "a", "Copepod": "a", "detritus": "b"})
    assert scan.scan([root], merged).classes == ("a", "b")
    with pytest.raises(SettingError, match="differ only in case"):
        LabelMap.of({"copepod": "a", "Copepod": "A"})


def test_litter_is_no_class(tmp_path, noise):
    names = ["a/1.png", "b/2.png", "@eaDir/1.png", ".Trash-1/x.png", "a/@eaDir/2.png",
             "a/.3.png.Qx7A2b", "a/4.gif.part", "__MACOSX/._5.gif"]  # fmt: skip
    files = {name: noise(n) for n, name in enumerate(names)}
    for path in (support.write_folder(tmp_path / "set", files),
                 support.write_zip(tmp_path / "set.zip", files)):  # fmt: skip
        found = scan.scan([path])
        assert [s.member for s in found.samples] == ["a/1.png", "b/2.png"]
        assert found.left_out == ()


def test_of_a_file_twice_in_an_archive_the_last_whole_one_is_read(tmp_path, noise):
    path = tmp_path / "set.tar"
    files = [("a/1.png", noise(1)[:60]), ("b/2.png", noise(2)), ("./a/1.png", noise(3))]
    path.write_bytes(tars.tar_of(*files))
    found = scan.scan([path])
    assert [(x.member, x.code) for x in found.left_out] == [("a/1.png", "repeated_name")]
    digests = [hashlib.sha256(noise(n)).hexdigest() for n in (3, 2)]
    assert [s.sha256 for s in found.samples] == digests
    assert len(list(scan.read_rgb(found, found.samples))) == 2


@pytest.mark.parametrize("order", [("copepod", "detritus"), ("detritus", "copepod")])
def test_a_file_listed_under_two_classes_is_left_out_in_both(order, tmp_path, noise):
    """Whichever row comes first: nobody knows which is right."""
    for n in range(6):
        (tmp_path / f"{n}.png").write_bytes(noise(n))
    rows = [f"{n}.png,{'copepod' if n % 2 else 'detritus'}\n" for n in range(5)]
    rows += [f"5.png,{label}\n" for label in order]
    (tmp_path / "table.csv").write_text("path,label\n" + "".join(rows))
    found = scan.scan([tmp_path / "table.csv"])
    assert [(x.member, x.code) for x in found.left_out] == [("5.png", "mislabelled")] * 2
    assert "5.png" not in {sample.member for sample in found.samples}
