"""A training on the image and what is measured of it: the same vector as in service, and lacks."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from pi10_classifier.classify import classify
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.imaging.measured_vector import CLIP, NAMES, centre_and_scale, measured_vector
from pi10_classifier.imaging.measurement import measure
from pi10_classifier.inference.engine import Engine
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Answer, Model
from pi10_classifier.packaging.adaptation.features import cut
from pi10_classifier.training import output_folder
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.augment_pi10 import view, view_drawn
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.data.loading import batches, load, read_examples
from pi10_classifier.training.data.synthetic import add_synthetic
from pi10_classifier.training.loop.loop import predict
from pi10_classifier.training.networks.measured import MeasuredNetwork, Standard, with_numbers
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.onnx_export import check_parity, write_onnx
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import recipe_for

CLASSES = ("copepod", "detritus", "noncopepod")


def recipe(**changes):
    small = {"epochs": 1, "size": 32, "batch": 16, "augmentation": "none", "measured": "all"}
    return recipe_for("mobilenet_v2", **{**small, "deterministic": True, **changes})


@pytest.fixture(scope="module")
def examples(shapes, tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.csv"
    path.write_text("label,class\nother/*,-\n" + "".join(f"{x}/*,{x}\n" for x in CLASSES))
    return read_examples([shapes / "light.tar", shapes / "black.tar"], path)


@pytest.fixture(scope="module")
def trained(examples, tmp_path_factory):
    plan = TrainingPlan(
        network="mobilenet_v2", recipe=recipe(measured="log_esd,aspect,solidity"), init="random",
        seeds=(1,), out=tmp_path_factory.mktemp("trained") / "out",
    )  # fmt: skip
    return runs.train_seeds(examples, plan, emit=lambda _: None)[0]


@pytest.fixture
def network():
    """A network that takes two numbers, and makes much of them."""
    torch.manual_seed(0)
    standard = Standard(("aspect", "log_esd"), np.float32([0.5, 3]), np.float32([0.2, 1]))
    made = with_numbers(
        build("mobilenet_v2", 3, size=32, channels=1, init="random"), standard, 1, 32
    )
    torch.nn.init.normal_(made.numbers[2].weight)
    return made.eval()


class Heard(Model):
    """A model that keeps the vectors that it is given."""

    def raw_answer(self, batch, measured=None) -> Answer:
        self.vectors = [*getattr(self, "vectors", []), measured]
        return super().raw_answer(batch, measured)


def test_serving_and_training_build_the_same_vector_of_the_same_bytes(trained, examples):
    """By three ways: a run's engine, what a training loads, and what its test reads."""
    from pi10_classifier.results.gallery import Gallery
    from pi10_classifier.sources.discovery import discover

    model = Heard.load(trained / output_folder.PACKAGE)
    names = model.package.measured.names
    assert names == ("log_esd", "aspect", "solidity")
    engine = Engine(model, batch=64)
    served = {}
    for source, path in examples.scan.origins.items():
        for unit in discover([str(path)]):
            model.vectors = []
            result = engine.process(list(unit.items()), Gallery())
            vectors = np.concatenate(model.vectors)
            served |= {(source, row.member): vector
                       for row, vector in zip(result.rows, vectors, strict=True)}  # fmt: skip
    training, held = load(examples, recipe(measured="log_esd,aspect,solidity"))
    fit, judged = iter(training.measured), iter(held.measured)
    loaded = [s for s in examples.samples if s.split in ("train", "validation")]
    read = {(s.source, s.member): next(fit if s.split == "train" else judged)
            for s, _ in read_rgb(examples.scan, loaded)}  # fmt: skip
    for part in batches(examples, "test", model.package.preprocessing, names=names):
        read |= {(s.source, s.member): row
                 for s, row in zip(part.samples, part.measured, strict=True)}  # fmt: skip
    assert len(read) == len(examples.samples) > 100
    for place, vector in read.items():
        np.testing.assert_array_equal(vector, served[place], err_msg=str(place))


def test_the_package_has_format_4_and_its_parity_counts_the_numbers(trained):
    said = json.loads((trained / "package/model.json").read_text("utf-8"))
    assert said["format"] == 4
    assert said["measured"] == {"input": "measured", "names": ["log_esd", "aspect", "solidity"]}
    assert said["parity"]["largest_difference"] < 1e-4
    assert np.load(trained / "checkpoint/parity_measured.npy").shape[1] == 3
    package, graph = read_package(trained / "package")
    trunk = cut(package, graph)
    assert trunk.name == "features" and trunk.size == 1280, "as adapt needs it"


def test_it_can_be_quantised_and_takes_missing_numbers_then(trained):
    from pi10_classifier.packaging.quantiser import Quantiser

    package, graph = read_package(trained / "package")
    images, numbers = (np.load(trained / f"checkpoint/{x}.npy")[:32]
                       for x in ("parity", "parity_measured"))  # fmt: skip
    numbers[::3] = np.nan
    with Quantiser(graph, package, images, numbers) as quantiser:
        small = Model(package, quantiser.graph("minmax"))
    whole = Model(package, graph)
    before, after = (x.scores(images, numbers) for x in (whole, small))
    assert np.isfinite(after).all()
    assert np.abs(before - after).mean() < 0.1


def test_a_run_with_and_without_measurements_scores_alike(trained, shapes, tmp_path):
    import pyarrow.parquet as pq

    scores = []
    for name in ("measured", "unmeasured"):
        settings = Settings(model=trained / "package", jobs=1, measure=name == "measured")
        classify([str(shapes / "light.tar")], tmp_path / name, settings)
        table = pq.read_table(tmp_path / name / "predictions.parquet")
        scores.append(table.sort_by("member").column("score_copepod").to_pylist())
    assert len(scores[0]) > 100
    assert scores[0] == scores[1]


def test_missing_and_wild_numbers_give_finite_answers(network, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 32, 32), np.uint8)
    numbers = np.float32([[0.5, 3], [np.nan, 3], [0.5, np.nan], [np.nan] * 2, [1e9, -1e9], [4, 9]])
    told = predict(network, images, numbers)
    assert np.isfinite(told).all()
    same = np.repeat(images[:1], 6, axis=0)
    told = predict(network, same, numbers)
    assert not np.allclose(told[0], told[1]), "a lack is told from the usual value"
    np.testing.assert_allclose(told[3], predict(network, same)[0], atol=1e-5)
    edge = np.float32([[0.5 + CLIP * 0.2, 3 - CLIP]])
    np.testing.assert_allclose(told[4], predict(network, same[:1], edge)[0], atol=1e-4)
    write_onnx(network, recipe().spec, tmp_path / "x.onnx")
    assert check_parity(network, tmp_path / "x.onnx", images, 1.0, numbers) < 1e-4
    torch.nn.init.normal_(network.numbers[2].bias)
    with pytest.raises(ModelError, match=r"ONNX Runtime and torch differ"):
        check_parity(network, tmp_path / "x.onnx", images, 1.0, numbers)


def test_before_its_first_step_the_numbers_change_nothing():
    bare = build("mobilenet_v2", 3, size=32, channels=1, init="random").eval()
    made = with_numbers(bare, Standard.unknown(NAMES), 1, 32).eval()
    assert isinstance(made, MeasuredNetwork)
    images = np.random.default_rng(1).integers(0, 256, (3, 1, 32, 32), np.uint8)
    numbers = np.random.default_rng(2).normal(size=(3, len(NAMES))).astype(np.float32)
    np.testing.assert_array_equal(predict(made, images, numbers), predict(bare, images))
    assert with_numbers(bare, None, 1, 32) is bare


def test_numbers_are_hidden_at_random_and_alike_for_a_seed(examples):
    chosen = recipe(measured_missing=0.3)
    training, _ = load(examples, chosen)
    drawn = []
    for _ in range(2):
        made = Batches(training, chosen, len(examples.classes))
        drawn.append(np.concatenate([made.make(b)["measured"] for b in range(len(made))]))
    np.testing.assert_array_equal(*drawn)
    missing = np.isnan(drawn[0])
    assert 0.4 < missing.mean() < 0.62  # 1 - 0.7²
    assert 0.2 < missing.all(axis=1).mean() < 0.4
    shown = Batches(training, recipe(measured_missing=0.0), len(examples.classes))
    assert not np.isnan(shown.make(0)["measured"]).any()
    assert not np.isnan(training.measured).any(), "the original is left alone"


def test_a_view_in_the_look_of_the_pi10_is_measured_anew(copepod):
    spec = recipe().spec
    made = view(copepod, np.random.default_rng(0), spec, 1.0, kind="linescan")
    assert made.recorded is not None and made.recorded.shape != copepod.shape
    assert view(copepod, np.random.default_rng(0), spec, 0.0, kind="linescan").recorded is None
    assert view(copepod, np.random.default_rng(0), spec, 1.0).recorded is None, "of no size"
    assert view_drawn(copepod, np.random.default_rng(0), spec).recorded is not None


def test_a_batch_has_the_numbers_of_its_views(examples):
    chosen = recipe(
        augmentation="pi10", look=1.0, look_kind="linescan", measured_missing=0.0, drawn=4,
        drawn_kind="linescan",
    )  # fmt: skip
    training, _ = load(examples, chosen)
    training = add_synthetic(training, examples.classes, 4, kind="linescan", names=chosen.numbers)
    assert len(training.measured) == len(training.images)
    made = Batches(training, chosen, len(examples.classes))
    order = made.order[: made.batch]
    views = made._views(order, 0, made.vary, made.spec)
    wanted = [measured_vector(measure(np.repeat(v.recorded[..., None], 3, 2)), 10.0) for v in views]
    np.testing.assert_array_equal(made.make(0)["measured"], np.stack(wanted))
    assert not np.array_equal(np.stack(wanted), training.measured[order])


def test_centre_and_scale_of_what_is_partly_missing():
    numbers = np.float32([[1, np.nan, 7], [2, np.nan, 7], [3, np.nan, np.nan]])
    centre, scale = centre_and_scale(numbers)
    assert centre.tolist() == [2, 0, 7]
    assert scale[1:].tolist() == [1, 1]


@pytest.mark.parametrize(("text", "why"), [
    ("all,esd", "names 'all' which is not measured"),
    ("aspect,aspect", "names 'aspect' twice"),
    ("aspect,", "names '' which is not measured"),
])  # fmt: skip
def test_names_that_are_not_measured_are_refused(text, why):
    with pytest.raises(SettingError, match=why):
        recipe(measured=text)


def test_a_head_of_cosines_takes_no_numbers(tmp_path):
    with pytest.raises(SettingError, match="needs a head of cosines alone"):
        TrainingPlan(network="mobilenet_v2", recipe=recipe(loss="ldam"), out=tmp_path)


def test_older_trainings_are_resumed_as_they_were():
    assert not {"measured", "measured_missing"} & recipe(measured="").to_dict().keys()
    assert recipe().to_dict()["measured"] == "all"


def test_its_weights_begin_another_training_without_the_numbers(trained, examples, tmp_path):
    for init in (trained, trained / "package"):
        plan = TrainingPlan(
            network="mobilenet_v2", recipe=recipe(measured=""), out=tmp_path, init=str(init)
        )
        plan.build(examples.classes)
