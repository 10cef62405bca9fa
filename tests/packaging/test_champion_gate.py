"""The candidate against the champion: figures that hold, and each reason of the rule."""

from dataclasses import replace

import marks
import numpy as np
import pytest
import support
from sklearn.metrics import f1_score

from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.bootstrap import Difference, Interval
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.champion_gate import (
    ClassFigures,
    compare_models,
    hash_of_test_set,
)

COUNTS = {"copepod": 30, "detritus": 25, "noncopepod": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return marks.tree(tmp_path_factory.mktemp("d") / "marks", COUNTS, doubt=1.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model.load(marks.package(tmp_path_factory.mktemp("m") / "one", version="1"))


@pytest.fixture(scope="module")
def reversed_model(tmp_path_factory):
    """The same network with its classes in another order."""
    classes = support.CLASSES[::-1]
    graph = support.tiny_model(marks.weights(classes))
    folder = tmp_path_factory.mktemp("m") / "reversed"
    return Model.load(support.write_package(folder, graph, classes=list(classes), version="2"))


@pytest.fixture(scope="module")
def compared(model, reversed_model, data):
    return compare_models(model, reversed_model, [data])


def test_the_order_of_classes_makes_no_difference(compared, model, data):
    assert (compared.difference.value, compared.changed) == (0, 0)
    assert compared.refusals == ()
    assert compared.verdict.startswith("not told apart")
    found = scan([data])
    scored = score(model, found, found.samples)
    truth, guess = scored.truth(support.CLASSES), scored.probabilities.argmax(axis=1)
    assert 0.5 < np.mean(truth == guess) < 1  # else the rest shows little
    expected = f1_score(truth, guess, average="macro")
    assert compared.macro_f1.value == pytest.approx(expected)
    assert compared.champion_macro_f1.value == pytest.approx(expected)
    assert compared.macro_f1.low < expected < compared.macro_f1.high
    assert {row.label: row.images for row in compared.per_class} == COUNTS


def figures(value, p):
    span = Interval(0.5, 0.4, 0.6)
    return ClassFigures("detritus", 25, span, span, Difference(value, value, value, p), p)


def test_each_reason_of_the_rule(compared):
    lower = Difference(-0.001, -0.01, 0.008, 0.8)
    for change, reason in (
        ({"difference": lower}, "its macro-F1 is lower: -0.0010"),
        ({"per_class": (figures(-0.1, 0.01),)}, "its F1 of detritus is lower"),
        ({"fitted": 3}, "it was fitted on 3 of the 75 test images"),
        ({"other_classes": "it adds krill"}, "it adds krill"),
    ):
        [told] = replace(compared, **change).refusals
        assert told.startswith(reason)
    for rows in (figures(-0.1, 0.06), figures(0.1, 0.01)):
        assert replace(compared, per_class=(rows,)).refusals == ()


def test_the_test_set_is_known_by_its_images():
    one, two = Sample("a", "1.png", "x", "copepod", sha256="1"), Sample(
        "a", "2.png", "x", "detritus", sha256="2"
    )  # fmt: skip
    known = hash_of_test_set([one, two])
    assert hash_of_test_set([two, replace(one, source="b", member="9.png")]) == known
    assert hash_of_test_set([one, replace(two, group="copepod")]) != known
    assert hash_of_test_set([one]) != known


def test_a_few_images_are_no_test(model, tmp_path):
    few = marks.tree(tmp_path / "few", dict.fromkeys(COUNTS, 9))
    with pytest.raises(SettingError, match="27 test images"):
        compare_models(None, model, [few])


def test_without_a_champion_the_report_has_the_candidate_alone(model, data):
    alone = compare_models(None, model, [data])
    assert alone.refusals == ()
    assert "no champion" in alone.to_text()
    assert alone.to_dict()["champion_macro_f1"] is None
    assert "p" not in alone.figures()
