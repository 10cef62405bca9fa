"""A training on groups: which there are, the two losses, and the package that comes of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import support

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from pi10_classifier.errors import SettingError
from pi10_classifier.model.groups import Groups
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.training import output_folder
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.data.groups import absent, counted, groups_of, numbering
from pi10_classifier.training.data.in_memory import UNKNOWN
from pi10_classifier.training.data.loading import load, read_examples
from pi10_classifier.training.data.synthetic import add_synthetic
from pi10_classifier.training.loop.auxiliary_head import auxiliary_loss
from pi10_classifier.training.networks.grouped import GroupedNetwork, rolled_up
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.onnx_export import write_onnx
from pi10_classifier.training.plan import TrainingPlan, config_of
from pi10_classifier.training.recipe import Recipe, recipe_for

MAP = """label,class,group,why
copepod_*,copepod,,a class without groups
detritus_0,detritus,aggregate,
detritus_1,detritus,,not known
noncopepod_*,noncopepod,ring,
other_0,noncopepod,cross,
other_1,-,,
bubble*,noncopepod,bubble,none here
"""
NAMES = ("copepod", "aggregate", "cross", "ring")


def recipe(**changes):
    small = {"epochs": 2, "size": 32, "batch": 16, "loss": "las", "augmentation": "none"}
    return recipe_for(
        "mobilenet_v2",
        **{**small, "deterministic": True, "groups": 0.5, **changes},
    )


@pytest.fixture(scope="module")
def label_map(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.csv"
    path.write_text(MAP, "utf-8")
    return path


@pytest.fixture(scope="module")
def examples(shapes, label_map):
    return read_examples([shapes / "light.tar"], label_map)


@pytest.fixture(scope="module")
def trained(examples, tmp_path_factory):
    lines = []
    plan = TrainingPlan(
        network="mobilenet_v2", recipe=recipe(), init="random", seeds=(1,),
        out=tmp_path_factory.mktemp("trained") / "out",
    )  # fmt: skip
    return runs.train_seeds(examples, plan, emit=lines.append)[0], lines


def test_groups_are_those_of_the_training_images(examples):
    groups = groups_of(examples, recipe())
    assert groups is not None
    assert groups.names == NAMES
    assert groups.of == dict(zip(NAMES, ("copepod", "detritus", *["noncopepod"] * 2), strict=True))
    assert absent(examples, groups) == ("bubble",)
    assert groups_of(examples, recipe(groups=0.0)) is None


def test_the_group_of_an_image_is_its_labels_or_its_classs_only_one(examples):
    groups = groups_of(examples, recipe())
    number_of = numbering(examples, groups)
    numbers = {s.label.rpartition("/")[2]: number_of(s) for s in examples.samples}
    assert numbers == {
        "copepod_0": 0, "copepod_1": 0, "detritus_0": 1, "detritus_1": 1,
        "other_0": 2, "noncopepod_0": 3, "noncopepod_1": 3,
    }  # fmt: skip
    train = examples.of("train")
    assert counted(examples, groups)["ring"] == sum(s.label.startswith("nonc") for s in train)


def test_an_image_of_a_class_with_several_groups_may_have_none(shapes, tmp_path):
    path = tmp_path / "map.csv"
    path.write_text(MAP.replace("noncopepod_*,noncopepod,ring", "noncopepod_*,noncopepod,"))
    examples = read_examples([shapes / "light.tar"], path)
    with pytest.raises(SettingError, match="no class has two groups with training images"):
        groups_of(examples, recipe())
    text = MAP.replace(
        "noncopepod_*,noncopepod,ring,", "noncopepod_0,noncopepod,ring,\nnoncopepod_1,noncopepod,,"
    )
    path.write_text(text)
    examples = read_examples([shapes / "light.tar"], path)
    groups = groups_of(examples, recipe())
    number_of = numbering(examples, groups)
    training = load(examples, recipe(), group_of=number_of)[0]
    assert set(training.groups[training.truth == 2].tolist()) == {2, 3, UNKNOWN}
    drawn = add_synthetic(training, examples.classes, 3)
    assert drawn.groups[-9:].tolist() == [0] * 3 + [1] * 3 + [UNKNOWN] * 3


def test_without_a_map_that_names_groups_there_are_none(shapes, tmp_path):
    with pytest.raises(SettingError, match=r"there is no label map; give --label-map cefas"):
        groups_of(read_examples([shapes / "light.tar"]), recipe())
    path = tmp_path / "map.csv"
    path.write_text("label,class\ncopepod_*,copepod\ndetritus_*,detritus\n*,-\n")
    with pytest.raises(SettingError, match="the label map names no group"):
        groups_of(read_examples([shapes / "light.tar"], path), recipe())


def test_class_logits_are_log_sum_exps_with_their_gradient():
    groups = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    spans = ((0, 1), (1, 2), (2, 4))
    given = rolled_up(groups, spans)
    wanted = torch.stack([groups[:, a:b].logsumexp(1) for a, b in spans], 1)
    torch.testing.assert_close(given, wanted)
    weights = torch.randn(5, 3, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((x * weights).sum(), groups)[0] for x in (given, wanted))
    torch.testing.assert_close(ours, theirs)
    assert rolled_up(torch.full((1, 4), 1000.0), spans).isfinite().all()


def test_groups_in_another_order_than_their_classes_are_refused():
    groups = Groups(("a", "b"), ("x", "y"), {"a": "y", "b": "x"})
    with pytest.raises(ValueError, match="order of their classes"):
        GroupedNetwork(torch.nn.Identity(), groups)


def test_images_without_a_group_do_not_move_the_groups():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = auxiliary_loss(logits, torch.tensor([2, UNKNOWN, UNKNOWN]))
    assert loss.item() == pytest.approx(-logits[0].log_softmax(0)[2].item(), abs=1e-6)
    gradient = torch.autograd.grad(loss, logits)[0]
    assert gradient[0].abs().sum() > 0
    assert gradient[1:].abs().sum() == 0
    assert auxiliary_loss(logits, torch.full((3,), UNKNOWN)).item() == 0


def test_the_package_predicts_the_groups(trained, examples):
    folder, lines = trained
    model = Model.load(folder / output_folder.PACKAGE)
    groups = model.package.groups
    assert groups == groups_of(examples, recipe())
    assert model.package.classes == examples.classes
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 32, 32), np.uint8)
    scores, _, told, _ = model.answer(images)
    assert told.shape == (6, 4)
    np.testing.assert_allclose(
        scores[:, 2],
        np.exp(groups.rolled_up(told) / model.package.temperature)[:, 2]
        / np.exp(groups.rolled_up(told) / model.package.temperature).sum(axis=1),
        rtol=1e-3,
    )
    training = model.package.description["training"]
    assert training["groups"] == counted(examples, groups)
    assert training["recipe"]["groups"] == 0.5
    assert "| noncopepod | cross |" in (folder / "package/README.md").read_text("utf-8")
    assert any("no training image is of the group bubble" in line for line in lines)


def test_the_package_can_be_trained_further(trained, examples, tmp_path):
    folder, _ = trained
    plan = TrainingPlan(network="mobilenet_v2", recipe=recipe(), out=tmp_path, init=str(folder))
    groups = groups_of(examples, plan.recipe)
    network = plan.build(examples.classes, groups)
    seen = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    told = Model.load(folder / "package").answer(seen.numpy()).groups
    np.testing.assert_allclose(network.eval()(seen).groups.detach().numpy(), told, atol=1e-3)
    assert plan.build(examples.classes)(seen).logits.shape == (4, 3), (
        "without groups it gets a new head"
    )


def test_a_package_of_classes_gives_its_groups_their_classs_weights(examples, tmp_path):
    spec = recipe(size=64).spec
    plain = build("mobilenet_v2", 3, size=64, channels=spec.channels, init="random")
    write_onnx(plain, spec, tmp_path / "plain.onnx")
    package = support.write_package(
        tmp_path / "classes", (tmp_path / "plain.onnx").read_bytes(), format=3,
        classes=list(examples.classes), preprocessing=spec.to_dict(), temperature=1.3,
    )  # fmt: skip
    plan = TrainingPlan(
        network="mobilenet_v2", recipe=recipe(size=64), out=tmp_path, init=str(package)
    )
    groups = groups_of(examples, plan.recipe)
    network = plan.build(examples.classes, groups).eval()
    seen = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        scores = (network(seen).logits / plan.package.temperature).softmax(1).numpy()
    np.testing.assert_allclose(scores, Model.load(plan.weights).scores(seen.numpy()), atol=1e-4)
    others = Groups(("x", "y", "z"), ("a", "b"), {"x": "a", "y": "a", "z": "b"})
    assert plan.build(others.classes, others)(seen).logits.shape == (3, 2), (
        "of other classes: a new head"
    )


def test_a_training_without_groups_is_what_it_was(examples, tmp_path):
    plan = TrainingPlan(network="mobilenet_v2", recipe=recipe(groups=0.0), out=tmp_path)
    identity = config_of(examples, plan, None)["identity"]
    assert "groups" not in identity
    assert not {"groups", "ground_clip"} & identity["recipe"].keys()
    grouped = replace(plan, recipe=recipe())
    told = config_of(examples, grouped, None)["identity"]
    assert told["groups"] == groups_of(examples, recipe()).to_dict()


def test_other_groups_are_another_training(trained, examples, shapes, tmp_path):
    folder, _ = trained
    path = tmp_path / "map.csv"
    path.write_text(MAP.replace("cross", "star"))
    others = read_examples([shapes / "light.tar"], path)
    plan = TrainingPlan(
        network="mobilenet_v2", recipe=recipe(), init="random", seeds=(1,), out=folder.parent
    )
    (folder / "test_predictions.csv").rename(tmp_path / "kept.csv")
    try:
        with pytest.raises(SettingError, match="groups"):
            runs.train_seeds(others, plan, resume=True, emit=lambda _: None)
    finally:
        (tmp_path / "kept.csv").rename(folder / "test_predictions.csv")
    before = json.loads((folder / "config.json").read_text("utf-8"))["identity"]["groups"]
    assert "cross" in before["names"]


def test_mixed_images_have_no_group():
    with pytest.raises(SettingError, match=r"groups is 0.5 and mixup 0.2"):
        recipe(mixup=0.2)


def test_a_weight_without_groups_is_refused(examples, tmp_path):
    from pi10_classifier.training.loop.preflight import checked_loss

    plan = TrainingPlan(network="mobilenet_v2", recipe=recipe(), init="random", out=tmp_path)
    sets = load(examples, recipe(groups=0.0))
    with pytest.raises(SettingError, match=r"groups is 0\.5, but the network predicts the classes"):
        checked_loss(plan.build(examples.classes), *sets, recipe(), examples.classes)


@pytest.mark.parametrize("augmentation", ["pi10", "paper", "none"])
def test_the_ground_is_clipped_in_training_as_in_serving(shapes, augmentation):
    chosen = recipe(augmentation=augmentation, ground_clip=20, groups=0.0)
    examples = read_examples([shapes / "light.tar"])
    training, held = load(examples, chosen)
    batches = Batches(training, chosen, len(examples.classes))
    try:
        images = held.images
        if augmentation != "paper":  # which varies the brightness of the prepared image
            images = np.concatenate([images, batches[0]["image"].numpy()])
    finally:
        batches.close()
    assert (images == 255).any()
    assert not ((images >= 235) & (images < 255)).any()
    plain = load(examples, recipe(augmentation=augmentation, groups=0.0))[1].images
    assert ((plain >= 235) & (plain < 255)).any()
    np.testing.assert_array_equal(held.images, np.where(plain >= 235, 255, plain))


def test_the_clip_goes_into_the_package(shapes, tmp_path):
    chosen = recipe(ground_clip=6, groups=0.0, epochs=1)
    plan = TrainingPlan(
        network="mobilenet_v2", recipe=chosen, init="random", seeds=(1,), out=tmp_path / "out"
    )
    examples = read_examples([shapes / "light.tar"])
    folder = runs.train_seeds(examples, plan, emit=lambda _: None)[0]
    package = read_package(folder / "package")[0]
    assert package.preprocessing.ground_clip == 6
    assert package.description["format"] == 3
    assert "the 6 grey levels next to the ground made white" in (
        folder / "package/README.md"
    ).read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ground_clip": 65}, "it must be 0 to 64"),
        ({"ground_clip": -1}, "it must be 0 to 64"),
        ({"ground_clip": 2.5}, "it must be a whole number"),
        ({"ground_clip": 8}, "but level is false"),
        ({"groups": -0.1}, "must not be negative"),
    ],
)
def test_settings_out_of_bounds_are_refused(changes, words):
    with pytest.raises(SettingError, match=words):
        Recipe(**changes)
