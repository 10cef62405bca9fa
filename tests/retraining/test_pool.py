"""What deliveries say together: later labels replace, labellers must agree, nothing is lost."""

from __future__ import annotations

from pathlib import Path

from shapes import CLASSES

from pi10_classifier.labelling.labels import Label
from pi10_classifier.retraining.delivery import Delivery, Picture
from pi10_classifier.retraining.pool import Labelled, Pool, assemble, limited


def delivery(
    pictures: str = "", labels: dict[str, str] | None = None, who: str = "", sha: str = ""
) -> Delivery:
    """Pictures named by one letter each, whose bytes' hash is the letter and ``sha``."""
    made = Delivery("in/x")
    made.pictures = {x: Picture(x, f"{x}{sha}", Path(x), "") for x in pictures}
    made.labels = [Label(name, label, who, "") for name, label in (labels or {}).items()]
    return made


def found(pool: Pool) -> dict[str, str]:
    return {x.picture.name: x.label for x in pool.labelled}


def test_labels_may_come_before_or_after_their_pictures() -> None:
    first = delivery("a", {"b.png": "copepod", "A": "detritus"})
    pool = assemble([first, delivery("b")], CLASSES)
    assert found(pool) == {"a": "detritus", "b": "copepod"}


def test_a_labellers_later_label_replaces_the_earlier() -> None:
    pool = assemble([delivery("a", {"a": "copepod"}), delivery("", {"a": "detritus"})], CLASSES)
    assert found(pool) == {"a": "detritus"}


def test_labellers_who_differ_give_no_label_until_they_agree() -> None:
    both = [delivery("ab", {"a": "copepod", "b": "copepod"}, "ANNA"),
            delivery("", {"a": "detritus"}, "BO")]  # fmt: skip
    pool = assemble(both, CLASSES)
    assert (found(pool), pool.contradicting) == ({"b": "copepod"}, ("a",))
    agreed = assemble([*both, delivery("", {"a": "copepod"}, "BO")], CLASSES)
    assert found(agreed) == {"a": "copepod", "b": "copepod"}


def test_the_same_bytes_under_two_labels_are_contradicting() -> None:
    one, other = delivery("a", {"a": "copepod"}), delivery("b", {"b": "detritus"})
    other.pictures["b"] = Picture("b", "a", Path("a"), "")
    pool = assemble([one, other], CLASSES)
    assert (found(pool), pool.contradicting) == ({}, ("a", "b"))


def test_what_is_not_used_is_counted() -> None:
    first = delivery("abc", {"a": "artefact", "b": "copepod", "z": "copepod"})
    pool = assemble([first, delivery("b", sha="2")], CLASSES)
    assert found(pool) == {"b": "copepod"}
    assert pool.no_class == (("artefact", 1),)
    assert (pool.unlabelled, pool.without_picture, pool.replaced) == (1, ("z",), ("b",))


def test_new_labels_are_those_that_the_last_round_did_not_know() -> None:
    pool = assemble([delivery("ab", {"a": "copepod", "b": "detritus"})], CLASSES)
    assert pool.new(frozenset()) == 2
    assert pool.new(frozenset({("a", "copepod"), ("b", "copepod")})) == 1


def test_a_limit_takes_evenly_of_the_classes_as_far_as_they_go() -> None:
    names = {"copepod": 10, "detritus": 2, "noncopepod": 10}
    entries = tuple(
        Labelled(Picture(f"{label}{n}", f"{label}{n}", Path("x"), ""), label)
        for label, count in names.items() for n in range(count)
    )  # fmt: skip
    pool = Pool(entries)
    kept, over = limited(pool, 12, CLASSES)
    assert Pool(kept).counts(CLASSES) == {"copepod": 5, "detritus": 2, "noncopepod": 5}
    assert len(over) == 10
    assert limited(Pool(entries[::-1]), 12, CLASSES)[0] == kept
