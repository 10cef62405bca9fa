"""The frozen test: drawn once, never trained on, and the same in every later round."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from labelled_shapes import picture, sorted_shapes, tar_of
from shapes import CLASSES

from pi10_classifier.errors import SettingError
from pi10_classifier.retraining.delivery import Delivery
from pi10_classifier.retraining.frozen_test import Division, divide, write_test
from pi10_classifier.retraining.pool import Labelled, assemble


@pytest.fixture
def labelled(deliver: Callable[..., Delivery]) -> Callable[..., list[Labelled]]:
    def read(*archives: dict[str, bytes]) -> list[Labelled]:
        return list(assemble([deliver(tar_of(x)) for x in archives], CLASSES).labelled)

    return read


def shas(division: Division, part: str) -> set[str]:
    return {sample.sha256 for sample in division.of(part)}


@pytest.fixture
def first(
    tmp_path: Path, labelled: Callable[..., list[Labelled]]
) -> tuple[Division, Path, list[Labelled]]:
    entries = labelled(sorted_shapes(12))
    division = divide(tmp_path, entries, CLASSES, None)
    path = tmp_path / "frozen-test.tar"
    write_test(path, division, tmp_path, {x.picture.sha256: x.picture.name for x in entries})
    return division, path, entries


def test_the_first_round_draws_it(first: tuple[Division, Path, list[Labelled]]) -> None:
    division, path, _ = first
    assert division.fresh
    assert {s.group for s in division.of("test")} == set(CLASSES)
    again = path.with_name("again.tar")
    write_test(again, division, path.parent, {})
    assert len(again.read_bytes()) == len(path.read_bytes())


def test_later_rounds_keep_it_and_train_on_nothing_of_it(
    first: tuple[Division, Path, list[Labelled]],
    labelled: Callable[..., list[Labelled]],
    tmp_path: Path,
) -> None:
    before, path, _ = first
    entries = labelled(sorted_shapes(12), sorted_shapes(8, first=100))
    after = divide(tmp_path, entries, CLASSES, path)
    assert not after.fresh
    assert shas(after, "test") == shas(before, "test")
    assert not shas(after, "test") & (shas(after, "train") | shas(after, "validation"))
    assert len(after.samples) == len(entries)


def test_a_near_duplicate_of_it_is_held_back(
    first: tuple[Division, Path, list[Labelled]],
    labelled: Callable[..., list[Labelled]],
    tmp_path: Path,
) -> None:
    before, path, _ = first
    tested = before.of("test")[0]
    same = (tmp_path / tested.member).read_bytes()[:-12]  # PNG without its last chunk
    chunk = b"\0\0\0\4tEXt" + b"k\0vv" + b"\xd6\xb7\xb9\x3b"
    twin = same + chunk + b"\0\0\0\0IEND\xaeB`\x82"
    entries = labelled(sorted_shapes(12), {f"{tested.group}/twin.png": twin})
    digest = hashlib.sha256(twin).hexdigest()
    if digest not in {x.picture.sha256 for x in entries}:
        pytest.skip("this build of the decoder refuses the chunk")
    after = divide(tmp_path, entries, CLASSES, path)
    assert [sample.sha256 for sample in after.held_back] == [digest]


def test_a_picture_of_one_of_its_bins_is_held_back(
    first: tuple[Division, Path, list[Labelled]], tmp_path: Path
) -> None:
    before, _, entries = first
    tested = shas(before, "test")
    binned = [
        replace(x, picture=replace(x.picture, bin="pia1.2024-06-24.1454"))
        if number < 2 else x for number, x in enumerate(entries)
    ]  # fmt: skip
    # the stored test knows its bins by its members' names
    other = tmp_path / "binned.tar"
    name = "pia1.2024-06-24.1454+N00000001"
    other.write_bytes(tar_of({
        f"{sample.group}/{name if number == 0 else sample.sha256[:12]}.png":
        (tmp_path / sample.member).read_bytes()
        for number, sample in enumerate(before.of("test"))
    }))  # fmt: skip
    after = divide(tmp_path, binned, CLASSES, other)
    wanted = {x.picture.sha256 for x in binned[:2]} - tested
    assert {sample.sha256 for sample in after.held_back} == wanted


def test_it_keeps_its_labels(first: tuple[Division, Path, list[Labelled]], tmp_path: Path) -> None:
    before, path, entries = first
    tested = before.of("test")[0]
    other = next(name for name in CLASSES if name != tested.group)
    changed = [replace(x, label=other) if x.picture.sha256 == tested.sha256 else x for x in entries]
    after = divide(tmp_path, changed, CLASSES, path)
    assert after.relabelled == 1
    kept = next(s for s in after.of("test") if s.sha256 == tested.sha256)
    assert kept.group == tested.group


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"PK\x03\x04 damaged", "cannot be read"),
     (tar_of({"whale/a.png": picture("copepod", 1)}), "differ in the class")],
)  # fmt: skip
def test_a_test_that_is_unusable_is_refused_with_its_remedy(
    first: tuple[Division, Path, list[Labelled]], tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(data)
    with pytest.raises(SettingError, match=f"{said}.*delete"):
        divide(tmp_path, first[2], CLASSES, path)
