"""Trainings of a small network, from labelled images to packages, one folder a seed."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")


from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.test_predictions import read_predictions
from pi10_classifier.model.card import card
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.training import output_folder
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import batches, read_examples
from pi10_classifier.training.plan import TrainingPlan, named
from pi10_classifier.training.recipe import recipe_for

TIMED = {"seconds", "images_per_second", "waiting"}


def recipe(**changes):
    small = {"epochs": 2, "size": 32, "batch": 16, "loss": "las", "augmentation": "none"}
    return recipe_for("mobilenet_v2", **{**small, "deterministic": True, **changes})


def plan(out, seeds=(1,), **changes):
    given = {"network": "mobilenet_v2", "recipe": recipe(), "init": "random", **changes}
    return TrainingPlan(out=out, seeds=seeds, **given)


@pytest.fixture(scope="module")
def examples(shapes):
    return read_examples([shapes / "light.tar"])


class Recorder:
    def __init__(self, told, name=""):
        self.told, self.name = told, name

    def on_start(self, params):
        self.told.append((self.name, "start", params))

    def on_epoch(self, metrics, step):
        self.told.append((self.name, "epoch", step))
        assert 0 <= metrics["validation_macro_f1"] <= 1

    def on_end(self, folder, status):
        self.told.append((self.name, "end", f"{folder.name} {status}"))

    def on_done_before(self, folder, params):
        self.told.append((self.name, "done before", folder.name))

    def child(self, name):
        return Recorder(self.told, name)


@pytest.fixture(scope="module")
def trained(examples, tmp_path_factory):
    out, told = tmp_path_factory.mktemp("trained") / "las", []
    lines: list[str] = []
    folders = runs.train_seeds(
        examples, plan(out, (1, 2)), emit=lines.append, reporter=Recorder(told)
    )
    (out / "lines").write_text("\n".join(lines))
    return folders, told


def epochs(folder):
    with (folder / output_folder.METRICS).open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(stream)]


def test_each_seed_has_its_folder(trained, examples):
    folders, _ = trained
    assert [folder.name for folder in folders] == ["seed-1", "seed-2"]
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert names == {"config.json", "metrics.csv", "checkpoint", "package",
                         "test_predictions.csv"}  # fmt: skip
        assert [row["epoch"] for row in epochs(folder)] == ["1", "2"]
    assert (folders[0].parent / "manifest.csv").read_text() == examples.manifest
    assert "copepod/broken.png" in (folders[0].parent / "left_out.csv").read_text()
    assert epochs(folders[0]) != epochs(folders[1])


def test_the_spread_over_seeds_is_told(trained):
    folders, _ = trained
    last = (folders[0].parent / "lines").read_text().splitlines()[-1]
    figures = []
    for folder in folders:
        fields = json.loads((folder / "package" / "model.json").read_text())
        figures.append(fields["metrics"]["test split"]["macro_f1"]["value"])
    mean, spread = np.mean(figures), abs(figures[0] - figures[1]) / np.sqrt(2)
    said = [float(number) for number in re.findall(r"\d\.\d+", last)]
    assert last.startswith("2 seeds: test macro-F1")
    assert said == pytest.approx([mean, spread], abs=0.002)


def test_a_refused_resume_is_told_to_nobody(trained, examples):
    folders, _ = trained
    told = []
    longer = plan(folders[0].parent, (1, 2), recipe=recipe(epochs=3))
    with pytest.raises(SettingError, match=r"started with another recipe\.epochs"):
        runs.train_seeds(
            examples, longer, resume=True, emit=lambda _: None, reporter=Recorder(told)
        )
    assert told == []


def test_predictions_are_what_the_package_says_of_the_test_split(trained, examples):
    folders, _ = trained
    model = Model.load(folders[0] / "package")
    found = read_predictions(folders[0])
    assert (found.network, found.loss, found.seed) == ("mobilenet_v2", "las", 1)
    assert found.classes == examples.classes
    samples, scores = [], []
    for part, images, _ in batches(examples, "test", model.package.preprocessing, size=7):
        samples += part
        scores.append(model.scores(images))
    assert found.images == tuple((s.source, s.member) for s in samples)
    assert {s.split for s in samples} == {"test"}
    assert [found.classes[i] for i in found.truth] == [s.group for s in samples]
    np.testing.assert_allclose(found.scores, np.concatenate(scores), atol=1e-6)
    assert (found.guess == found.scores.argmax(axis=1)).all()


def test_the_package_says_how_it_came_about(trained, examples):
    folders, _ = trained
    fields = json.loads((folders[1] / "package" / "model.json").read_text())
    assert fields["training"]["split_sha256"] == examples.sha256
    assert fields["training"]["seed"] == 2
    assert fields["metrics"]["test split"]["n"] == len(examples.of("test"))
    card = (folders[1] / "package" / "README.md").read_text()
    assert "drawn from the same data" in card
    assert "Pi-10 rests on imitation" not in card


def test_a_reporter_is_told_of_parent_and_seeds(trained):
    _, told = trained
    assert [(name, what) for name, what, _ in told] == [
        ("", "start"),
        *(("seed-1", what) for what in ("start", "epoch", "epoch", "end")),
        *(("seed-2", what) for what in ("start", "epoch", "epoch", "end")),
        ("", "end"),
    ]
    assert told[1][2]["identity"]["recipe"]["seed"] == 1
    assert told[4][2] == "seed-1 FINISHED"
    assert told[-1][2] == "las FINISHED"


def test_what_is_done_is_not_done_again(trained, examples):
    folders, _ = trained
    again = plan(folders[0].parent, (1, 2))
    with pytest.raises(SettingError, match="continue with --resume"):
        runs.train_seeds(examples, again, emit=lambda _: None)

    def never():
        raise AssertionError("a step was made")

    said = []
    told = []
    done = runs.train_seeds(
        examples,
        again,
        resume=True,
        emit=said.append,
        raise_if_cancelled=never,
        reporter=Recorder(told),
    )
    assert done == folders
    assert [(name, what) for name, what, _ in told] == [
        ("", "start"), ("seed-1", "done before"), ("seed-2", "done before"), ("", "end"),
    ]  # fmt: skip
    assert said[:-1] == [f"{folder} is done" for folder in folders]
    assert said[-1].startswith("2 seeds: test macro-F1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": recipe(loss_options={"shape": "round"})}, "smoothing shape is 'round'"),
        ({"recipe": recipe(precision="fp16"), "device": "cpu"}, "fp16 needs a GPU"),
        ({"init": "."}, r"holds no \*.safetensors"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_read(
    examples, tmp_path, monkeypatch, change, message
):
    monkeypatch.chdir(tmp_path)
    told = []
    wrong = plan(tmp_path / "las", **change)
    monkeypatch.setattr(runs, "load", None)  # no image is decoded
    with pytest.raises(SettingError, match=message):
        runs.train_seeds(examples, wrong, emit=lambda _: None, reporter=Recorder(told))
    assert told == []
    assert not (tmp_path / "las" / "seed-1").exists()


def test_equal_counts_leave_las_nothing_to_do_and_it_says_so(examples, tmp_path):
    left = dict.fromkeys(examples.classes, 20)
    samples = []
    for sample in examples.samples:
        if sample.split == "train":
            left[sample.group] -= 1
        if left[sample.group] >= 0:
            samples.append(sample)
    even, said = replace(examples, samples=tuple(samples)), []
    runs.train_seeds(even, plan(tmp_path / "las", recipe=recipe(epochs=1)), emit=said.append,
                     test=False)  # fmt: skip
    assert said[0].startswith("all classes have 20 training images, so las smooths all of them")


def test_a_training_that_failed_before_its_first_epoch_stands_in_nobodys_way(examples, tmp_path):
    out = tmp_path / "las"

    def full():
        raise SettingError("no memory")

    with pytest.raises(SettingError, match="no memory"):
        runs.train_seeds(examples, plan(out), emit=lambda _: None, raise_if_cancelled=full)
    assert (out / "seed-1" / "config.json").is_file()
    mended = plan(out, recipe=recipe(epochs=1, batch=8))
    (folder,) = runs.train_seeds(examples, mended, emit=lambda _: None)
    assert output_folder.read_config(folder)["identity"]["recipe"]["batch"] == 8


def test_another_recipe_does_not_go_on(trained, examples):
    folders, _ = trained
    other = plan(folders[0].parent, recipe=recipe(rate=0.5))
    with pytest.raises(SettingError, match=r"another recipe.rate \(0.001, now 0.5\)"):
        runs.train_seeds(examples, other, resume=True, emit=lambda _: None)


def test_killed_in_mid_epoch_and_resumed_it_ends_the_same(trained, examples, tmp_path):
    folders, _ = trained
    left = iter(range(11, -1, -1))  # 7 steps an epoch: the fifth of the second one is the last

    def check():
        if next(left) == 0:
            raise KeyboardInterrupt

    told = []
    first = plan(tmp_path / "las", save_steps=2)
    with pytest.raises(KeyboardInterrupt):
        runs.train_seeds(
            examples, first, emit=lambda _: None, raise_if_cancelled=check, reporter=Recorder(told)
        )
    assert told[-1] == ("", "end", "las KILLED")
    assert not (tmp_path / "las" / "seed-1" / "test_predictions.csv").exists()
    (folder,) = runs.train_seeds(examples, first, resume=True, emit=lambda _: None)
    assert epochs(folder) == epochs(folders[0])
    for name in ("test_predictions.csv", "checkpoint/model.safetensors"):
        assert (folder / name).read_bytes() == (folders[0] / name).read_bytes()
    assert not (folder / "resume").exists()


def test_stopped_in_the_test_it_goes_on_there(trained, examples, tmp_path):
    folders, _ = trained
    left = iter(range(15, -1, -1))  # 14 steps, one before the test, then the test's own

    def check():
        if next(left) == 0:
            raise KeyboardInterrupt

    first = plan(tmp_path / "las")
    with pytest.raises(KeyboardInterrupt):
        runs.train_seeds(examples, first, emit=lambda _: None, raise_if_cancelled=check)
    seed = tmp_path / "las" / "seed-1"
    assert (seed / "package" / "model.onnx").exists()
    assert not (seed / "test_predictions.csv").exists()
    lines = []
    (folder,) = runs.train_seeds(examples, first, resume=True, emit=lines.append)
    assert any("is a finished training" in line for line in lines)
    mine, whole = ((f / "test_predictions.csv").read_bytes() for f in (folder, folders[0]))
    assert mine == whole


def test_a_name_in_the_command_is_told_with_its_version(trained, tmp_path, monkeypatch):
    folders, _ = trained
    package = read_package(embedded("fast"))[0]
    wanted = {"fast": {"version": package.version, "sha256": package.sha256}}
    assert named(plan(tmp_path / "x", init="fast", teachers=("fast",))) == wanted
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast" / "seed-1").mkdir(parents=True)  # an --out of that name
    assert named(plan(tmp_path / "fast", init="fast", teachers=("fast",))) == wanted
    assert plan(tmp_path / "fast", init="fast").weights == embedded("fast")
    assert named(plan(tmp_path / "x", teachers=(str(folders[0] / "package"),))) == {}
    fields = json.loads((folders[0] / "package" / "model.json").read_text())
    assert fields["training"]["named"] == {}
    fields["training"] |= {"named": wanted, "command": "pi10 train --init fast"}
    said = f"In it `fast` was version {package.version} (SHA-256 `{package.sha256[:16]}…`)."
    assert said in card(fields)


def test_a_student_learns_from_a_package(trained, examples, tmp_path):
    folders, _ = trained
    teacher = str(folders[0] / "package")
    student = plan(
        tmp_path / "student", teachers=(teacher,), recipe=recipe(epochs=1, distil=1.0, loss="st_ce")
    )
    said = []
    (folder,) = runs.train_seeds(examples, student, emit=said.append)
    assert not any("may have been trained on test images" in line for line in said)
    config = json.loads((folder / "config.json").read_text())
    assert config["identity"]["teacher"] == Model.load(folders[0] / "package").package.sha256
    other = plan(tmp_path / "other", teachers=("starter",), recipe=recipe(distil=0.5))
    with pytest.raises(
        SettingError, match="knows copepod, detritus, noncopepod, but the data have"
    ):
        runs.train_seeds(examples, other, emit=said.append)


def test_a_teacher_of_another_split_is_spoken_of(trained, shapes, tmp_path):
    folders, _ = trained
    examples = read_examples([shapes / "light.tar"], seed=5)
    student = plan(
        tmp_path / "student",
        teachers=(str(folders[0] / "package"),),
        init=str(folders[0]),
        recipe=recipe(epochs=1, distil=0.5),
    )
    said = []
    (folder,) = runs.train_seeds(examples, student, emit=said.append)
    assert sum("may have been trained on test images" in line for line in said) == 2
    fields = json.loads((folder / "package" / "model.json").read_text())
    assert fields["training"]["trained_on_another_split"].keys() == {"teacher", "initial weights"}


def test_a_training_goes_on_from_a_package_alone(examples, trained, tmp_path):
    package = trained[0][0] / "package"
    again = plan(tmp_path / "on", init=str(package), recipe=recipe(epochs=1))
    (folder,) = runs.train_seeds(examples, again, emit=lambda _: None)
    before, after = (
        json.loads((x / "model.json").read_text()) for x in (package, folder / "package")
    )
    begun = after["training"]["initial_weights"]
    assert begun["stages"][-1]["run_id"] == before["training"]["run_id"]
    assert begun["stages"][-1]["weights_sha256"] == Model.load(package).package.sha256
    assert "trained_on_another_split" not in after["training"]
    card = (folder / "package" / "README.md").read_text()
    assert f"run `{before['training']['run_id']}`" in card


def test_two_trainings_do_not_share_a_folder(examples, tmp_path):
    with (
        output_folder.locked(tmp_path),
        pytest.raises(SettingError, match="another training is writing"),
    ):
        runs.train_seeds(examples, plan(tmp_path), emit=lambda _: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "vitt"}, "unknown network or recipe 'vitt'; networks: vit"),
        ({"seeds": (1, 1)}, r"seeds are \[1, 1\]"),
        ({"init": "hub"}, "init is 'hub'; it must be 'pretrained', 'random', a folder of"),
        ({"recipe": recipe_for("vit", loss="focal")}, "unknown loss 'focal'"),
    ],
)
def test_unusable_plans_are_refused(change, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        plan(tmp_path, **change)


@pytest.mark.parametrize("loss", ["ldam", "dynamic_las"])
def test_a_network_is_built_as_its_loss_needs_it(loss, tmp_path):
    network = "vit_tiny" if loss == "dynamic_las" else "resnet18"
    made = plan(tmp_path, network=network, recipe=recipe_for(network, loss=loss, size=32))
    output = made.build(("a", "b", "c"))(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert output.logits.shape == (2, 3)
    assert (output.attention is not None) == (loss == "dynamic_las")
    assert made.head == ("cosine" if loss == "ldam" else "linear")
