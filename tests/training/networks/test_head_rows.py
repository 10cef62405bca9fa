"""Rows of a head are taken over by what they tell, not by their place."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from pi10_classifier.errors import SettingError
from pi10_classifier.model.groups import Groups
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.training.checkpoint import save_checkpoint
from pi10_classifier.training.networks.from_package import load_package
from pi10_classifier.training.networks.head_rows import HeadRows, head_rows
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import recipe_for

FAST = read_package(embedded("fast"))[0]
CLASSES = FAST.classes


def plan(tmp_path, init="fast"):
    recipe = recipe_for("mobilenet_v2", size=FAST.preprocessing.size)
    return TrainingPlan(network="mobilenet_v2", recipe=recipe, out=tmp_path, init=init)


def built(tmp_path, classes, groups=None):
    """A head, and that of the package as it is."""
    torch.manual_seed(3)
    network = plan(tmp_path).build(classes, groups)
    whole = build(
        "mobilenet_v2", len(FAST.groups.names), size=FAST.preprocessing.size, channels=1,
        weights=FAST.folder,
    )  # fmt: skip
    return (network.network if groups else network).classifier[1], whole.classifier[1]


def test_as_many_groups_in_another_order_and_with_another_name(tmp_path):
    names = list(reversed(FAST.groups.names))
    new = ["rhizaria" if name == "protist" else name for name in names]
    of = {"rhizaria": FAST.groups.of["protist"], **FAST.groups.of}
    ordered = sorted(new, key=lambda name: CLASSES.index(of[name]))
    groups = Groups(tuple(ordered), CLASSES, {name: of[name] for name in ordered})
    own, theirs = built(tmp_path, CLASSES, groups)
    torch.manual_seed(3)
    anew = build("mobilenet_v2", len(ordered), size=80, channels=1, init="random").classifier[1]
    for place, name in enumerate(ordered):
        if name == "rhizaria":
            assert torch.equal(own.weight[place], anew.weight[place])
            continue
        row = FAST.groups.names.index(name)
        assert torch.equal(own.weight[place], theirs.weight[row])
        assert own.bias[place] == theirs.bias[row]
    note = plan(tmp_path).head_rows(CLASSES, groups).note("fast")
    assert note.endswith("of fast, and rhizaria anew")


def test_a_class_of_several_groups_begins_anew_and_it_is_told(tmp_path):
    own, theirs = built(tmp_path, CLASSES)
    copepod = FAST.groups.names.index("copepod")
    assert torch.equal(own.weight[0], theirs.weight[copepod])
    assert not any(torch.equal(own.weight[1], row) for row in theirs.weight)
    assert plan(tmp_path).head_rows(CLASSES).note("fast") == (
        "note: of the last layer, copepod begins with the weights of fast, and detritus, noncopepod"
        " anew; fast predicts several groups of detritus, noncopepod, which no single row can sum"
    )


def test_classes_in_another_order():
    before = {"classes": ["a", "b", "c"]}
    rows = head_rows(before, ("c", "d", "a"), None)
    assert dict(rows.taken) == {"c": (2, 0.0), "a": (0, 0.0)}
    assert rows.new == ("d",)
    assert "c, a begins with the weights of x, and d anew" in rows.note("x")
    assert head_rows(before, ("a", "b"), None).note("x") == ""
    assert head_rows({}, ("a", "b"), None) is None


def test_groups_share_out_the_row_of_their_class():
    groups = Groups(("x", "y", "z"), ("a", "b"), {"x": "a", "y": "a", "z": "b"})
    rows = head_rows({"classes": ["b", "a"]}, ("a", "b"), groups)
    weight, bias = torch.zeros(3, 2), torch.zeros(3)
    rows.fill(weight, torch.tensor([[1.0, 2], [3, 4]]))
    rows.fill(bias, torch.tensor([5.0, 6]))
    assert weight.tolist() == [[3, 4], [3, 4], [1, 2]]
    np.testing.assert_allclose(bias, [6 - np.log(2), 6 - np.log(2), 5], rtol=1e-6)
    assert head_rows({"classes": ["q", "r"]}, ("a", "b"), groups).new == ("x", "y", "z")


def test_a_checkpoint_of_other_classes_is_matched_too(tmp_path):
    torch.manual_seed(0)
    first = build("mobilenet_v2", 3, size=80, channels=1, init="random")
    save_checkpoint(tmp_path / "first", first, {"classes": ["a", "b", "c"]})
    head = plan(tmp_path, str(tmp_path / "first")).build(("c", "b", "new")).classifier[1]
    assert torch.equal(head.weight[:2], first.classifier[1].weight[[2, 1]])
    assert torch.equal(head.bias[:2], first.classifier[1].bias[[2, 1]])
    assert not torch.equal(head.weight[2], first.classifier[1].weight[0])


def test_a_last_layer_of_another_width_is_refused():
    rows = HeadRows(("a", "b", "c"), {}, 4)
    with pytest.raises(SettingError, match=r"its last layer is .* describes 4 rows"):
        load_package(build("mobilenet_v2", 3, size=80, channels=1, init="random"),
                     FAST.folder, rows)  # fmt: skip
