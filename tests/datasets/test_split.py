import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pi10_classifier.datasets import scan, split
from pi10_classifier.datasets.scan import Sample
from pi10_classifier.errors import SettingError

REAL = Path(__file__).parents[3] / "shared" / "data"


def images(n, label="a/x", source="set", start=0, **fields):
    """n samples of one stratum, each of bytes of its own."""
    return [
        Sample(source, f"{label}/{i}.png", label, label.split("/")[0], sha256=f"{label}-{i}",
               **fields)
        for i in range(start, start + n)
    ]  # fmt: skip


def parts_of(samples, key):
    found = {}
    for s in samples:
        found.setdefault(key(s), set()).add(s.split)
    return found


def test_70_10_20_in_each_source_and_label():
    samples = images(100) + images(50, "a/y") + images(40, "b/x") + images(20, "a/x", "other")
    done = split.split(samples)
    assert [replace(s, split="") for s in done] == sorted(
        samples, key=lambda s: (s.source, s.member)
    )
    sizes = Counter((s.source, s.label) for s in done)
    for (source, label, part), n in Counter((s.source, s.label, s.split) for s in done).items():
        share = {"train": 0.7, "validation": 0.1, "test": 0.2}[part]
        assert n == round(share * sizes[source, label]), (source, label, part)


def test_place_is_that_of_the_hash_of_seed_and_name():
    """Worked out by hand, so that a split can be repeated years on."""
    import hashlib

    samples = images(10)
    order = sorted(samples, key=lambda s: hashlib.sha256(f"7/{s.member}".encode()).digest())
    expected = dict.fromkeys((s.member for s in order), "train")
    expected |= {s.member: "test" for s in order[:2]} | {order[2].member: "validation"}
    assert {s.member: s.split for s in split.split(samples, seed=7)} == expected


def test_split_depends_on_names_and_seed_not_on_order():
    samples = images(60) + images(60, "b/y", bin="b1") + images(60, "b/z")
    once = split.split(samples)
    assert split.split(reversed(samples)) == once
    assert split.split(samples, seed=1) != once
    more = split.split(samples + images(30, "c/new"))
    assert [s for s in more if s.group != "c"] == once, "another stratum moves none"


def test_duplicates_stay_together_and_move_no_other_image():
    samples = images(200) + images(100, "b/x")
    alone = {s.member: s.split for s in split.split(samples)}
    twins = {f"a/x/{i}.png": f"pair{i // 2}" for i in range(20)}
    twins |= {f"b/x/{i}.png": f"pair{i}" for i in range(3)}  # across the classes
    done = split.split([replace(s, cluster=twins.get(s.member, "")) for s in samples])
    groups = parts_of([s for s in done if s.cluster], lambda s: s.cluster)
    assert all(len(parts) == 1 for parts in groups.values())
    assert {s.member: s.split for s in done if not s.cluster} == {
        name: part for name, part in alone.items() if name not in twins
    }
    sizes = Counter(s.split for s in done)
    assert [sizes[part] for part in split.SPLITS] == pytest.approx([210, 30, 60], abs=1)


def test_bins_stay_together_and_the_shares_hold():
    samples = []
    for b in range(60):
        for label, n in (("cop/a", 12 + b % 7), ("det/b", 20), ("rare/c", b % 3)):
            samples += images(n, label, start=1000 * b, bin=f"pia7.2024-06-24.{b:04d}")
    done = split.split(samples)
    assert all(len(parts) == 1 for parts in parts_of(done, lambda s: s.bin).values())
    table = split.counts(done)
    for name in ("cop", "det", "rare"):
        total = sum(row[name] for row in table.values())
        for part, share in zip(split.SPLITS, split.FRACTIONS, strict=True):
            assert table[part][name] / total == pytest.approx(share, abs=0.04), (part, name)


def test_groups_join_through_bins_and_duplicates():
    samples = [replace(s, bin=f"bin{i % 10}") for i, s in enumerate(images(100))]
    samples[3] = replace(samples[3], cluster="twins")  # bin 3
    samples[14] = replace(samples[14], cluster="twins")  # bin 4
    done = split.split(samples)
    parts = parts_of(done, lambda s: s.bin)
    assert parts["bin3"] == parts["bin4"]
    assert not split.leaks(done)


def test_small_class_gets_an_image_in_each_split():
    table = split.counts(
        split.split(images(100) + images(3, "b/x") + images(2, "c/x") + images(2, "c/y"))
    )
    assert [table[part]["b"] for part in split.SPLITS] == [1, 1, 1]
    assert all(table[part]["c"] for part in split.SPLITS)


@pytest.mark.parametrize(
    ("few", "message"),
    [
        (images(1, "b/x"), r"class 'b', which has 1 image\(s\); each of"),
        (images(2, "b/x"), "'b', which has 2"),
        (images(50, "b/x", bin="same"), r"has 50 image\(s\) in 1 group\(s\) that must stay"),
        (images(9, "b/x", split="train"), "split 'validation' has no image of class 'b'"),
    ],
)
def test_class_that_cannot_be_in_each_split_is_refused(few, message):
    with pytest.raises(SettingError, match=message):
        split.split(images(100) + few)


def test_all_classes_that_are_too_small_are_named_at_once():
    with pytest.raises(SettingError, match=r"of class 'b', .*the same holds for 'c', 'd'$"):
        split.split(images(100) + images(1, "b/x") + images(2, "c/x") + images(1, "d/x"))


def test_nothing_to_split_and_odd_fractions_are_refused():
    with pytest.raises(SettingError, match="no image to split"):
        split.split([])
    for bad in ((0.8, 0.2), (0.8, 0.1, 0.2), (0.9, 0.1, 0.0)):
        with pytest.raises(SettingError, match="three shares above 0"):
            split.split(images(50), bad)


def test_tables_own_split_is_kept_and_its_duplicates_follow():
    given = images(5, "a/given", split="test", cluster="t") + images(5, "a/g2", split="train")
    twin = replace(images(1, "a/twin")[0], cluster="t")
    done = {s.member: s for s in split.split([*given, twin, *images(100)])}
    assert {done[s.member].split for s in given[:5]} == {"test"}
    assert {done[s.member].split for s in given[5:]} == {"train"}
    assert done[twin.member].split == "test"


def test_leaks_of_a_tables_own_split_are_told_and_same_bytes_refused():
    near = [
        replace(s, split=part, cluster="t", bin="b")
        for s, part in zip(images(2, "a/t"), ("train", "test"), strict=True)
    ]
    done = split.split(near + images(50))
    assert split.leaks(done) == [
        ("bin", "b", ("train", "test")),
        ("cluster", "t", ("train", "test")),
    ]
    same = [replace(s, sha256="feed") for s in near]
    with pytest.raises(SettingError, match=r"same bytes \(feed…\) were given to train and test"):
        split.split(same + images(50))


def hashed(samples):
    return [replace(s, sha256=f"{i:064x}", width=40, height=30 + i) for i, s in enumerate(samples)]


def test_manifest_comes_back_whatever_the_names():
    odd = [replace(s, member=f'a/"x", {i}\n.png') for i, s in enumerate(images(30, "a/ü"))]
    grouped = images(40, "b/x", bin="b1") + images(9, "b/z", bin="b2")
    done = split.split(hashed(odd + grouped + images(3, "b/z", start=50)))
    text = split.manifest(done)
    assert text.startswith("source,member,label,group,bin,split,sha256,width,height,cluster\n")
    assert split.read_manifest(text) == done


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "dev"}, "line 3: split is 'dev'"),
        ({"sha256": "abc"}, "line 3: sha256 is 'abc', not 64"),
        ({"group": ""}, "line 3: group is empty"),
        ({"width": "4e3"}, "line 3: width is '4e3'"),
        ({"member": "a/x/0.png"}, "line 3: a/x/0.png is already in line 2"),
        ({"sha256": "0" * 64, "split": "other than line 2's"}, "in another split too"),
        (None, "lacks group, sha256"),
    ],
)
def test_manifest_that_was_tampered_with_is_refused(change, message):
    rows = list(csv.DictReader(io.StringIO(split.manifest(split.split(hashed(images(30)))))))
    if change is None:
        rows = [{k: v for k, v in row.items() if k not in ("group", "sha256")} for row in rows]
    else:
        if "line 2" in change.get("split", ""):
            change = {**change, "split": "test" if rows[0]["split"] == "train" else "train"}
        rows[1] |= change
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    with pytest.raises(SettingError, match=message):
        split.read_manifest(text.getvalue())
    with pytest.raises(SettingError, match="no lines"):
        split.read_manifest(split.manifest([]))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real labelled tars are not here")
def test_real_tars_have_few_duplicates_and_every_class_in_every_split():
    found = scan.scan([REAL / "pwssc.tar"])
    assert found.left_out == ()
    sizes = Counter(s.cluster for s in found.samples if s.cluster)
    assert 10 <= len(sizes) <= 100
    assert max(sizes.values()) < 20
    table = split.counts(split.split(found.samples))
    assert min(min(row.values()) for row in table.values()) >= 90
