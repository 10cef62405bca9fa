"""Pretrainings of a small network, from images without labels to weights and a package."""

import csv
import json
import re
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from safetensors.torch import load_file

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import read_package
from pi10_classifier.packaging.adaptation.features import cut
from pi10_classifier.tracking import mlflow_reporter
from pi10_classifier.tracking import spool as sp
from pi10_classifier.training.checkpoint import load_checkpoint
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.plan import TrainingPlan, provenance
from pi10_classifier.training.pretraining import loop
from pi10_classifier.training.pretraining import run as runs
from pi10_classifier.training.pretraining.plan import PretrainingPlan, pretraining_recipe
from pi10_classifier.training.recipe import recipe_for

TIMED = {"seconds", "images_per_second", "waiting", "rate"}


NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}


def plan(out, images=48, **changes):
    settings = {"size": 32, "batch": 15, "epochs": 2, "deterministic": True}
    settings |= changes.pop("settings", {})
    recipe = pretraining_recipe("mobilenet_v2", 3, **settings)
    return PretrainingPlan("mobilenet_v2", recipe, out, images=images, init="starter", **changes)


def drawn(path, planned):
    return runs.draw_particles([str(path)], planned)


def epochs(folder):
    with (folder / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def tar(shapes):
    return shapes / "light.tar"


@pytest.fixture(scope="module")
def alone(tar, tmp_path_factory):
    """A pretraining on images alone, never interrupted."""
    planned = plan(tmp_path_factory.mktemp("pretrained") / "simclr")
    reporter = mlflow_reporter.of_pretraining(
        planned.out, lambda line: None, experiment="sea", environ=NOWHERE
    )
    particles = drawn(tar, planned)
    runs.pretrain(particles, planned, emit=lambda line: None, reporter=reporter)
    runs.pretrain(
        particles, planned, resume=True, emit=lambda line: None, reporter=reporter
    )  # which is done, so nothing more is recorded
    return planned.out


def test_its_weights_begin_a_training(alone):
    begun = TrainingPlan(
        "mobilenet_v2", recipe_for("mobilenet_v2", size=32, loss="bce"), alone / "x",
        init=str(alone),
    )  # fmt: skip
    network = begun.build(("copepod", "detritus", "noncopepod"))
    state, fields = load_checkpoint(alone / "checkpoint")
    mine = network.state_dict()
    trunk = [key for key in state if not key.startswith("classifier.")]
    assert len(trunk) > 200
    assert all(torch.equal(mine[key], state[key]) for key in trunk)
    assert fields["pretraining"]["method"] == "simclr"
    assert "mobilenet_v2-pretrained" in provenance(begun)["origin"]
    # and from the package, in which norms are folded
    build("mobilenet_v2", 3, size=32, channels=1, weights=alone / "package")


def test_its_run_is_recorded_once(alone):
    pytest.importorskip("mlflow")
    (run,) = sp.runs_of(alone / sp.SPOOL)
    assert (run.header.name, run.header.experiment) == ("simclr", "sea")
    events = [event for event, _ in run.events()]
    turns = [e.get("status", "open") for e in events if e["kind"] in ("open", "end")]
    assert turns == ["open", "FINISHED"]
    (params,) = (e["values"] for e in events if e["kind"] == "params")
    assert (params["method"], params["rate"], params["images.found"]) == ("simclr", "0.0005", "161")
    measured = [e for e in events if e["kind"] == "metrics" and "spread" in e["values"]]
    assert {e["step"] for e in measured} == {1, 2}
    assert [e["folder"] for e in events if e["kind"] == "package"] == ["model"]
    assert len([e for e in events if e["kind"] == "artifact"]) == 6


def test_its_package_gives_the_features_of_its_weights(alone):
    package, graph = read_package(alone / "package")
    trunk = cut(package, graph)
    images = np.load(alone / "checkpoint" / "parity.npy")
    network = build("mobilenet_v2", 16, size=32, channels=1, init="random").eval()
    network.load_state_dict(load_file(alone / "checkpoint" / "model.safetensors"))
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).features.numpy()
    np.testing.assert_allclose(trunk.run([images]), expected, atol=1e-3)
    assert trunk.size == 1280 and len(package.classes) == 16
    card = (alone / "package" / "README.md").read_text("utf-8")
    assert "They are no taxa" in card
    assert re.search(r"simclr on 4[78] of 161 images", card)  # one of them is broken


def test_the_cluster_of_the_nearest_centre_wins(alone):
    """What the last layer gives is the order of the distances from the centres of k-means."""
    from sklearn.cluster import KMeans

    package, graph = read_package(alone / "package")
    features = cut(package, graph).run([np.load(alone / "checkpoint" / "parity.npy")])
    state = load_file(alone / "checkpoint" / "model.safetensors")
    weight, bias = (state[f"classifier.1.{name}"].numpy() for name in ("weight", "bias"))
    told = (features @ weight.T + bias).argmax(1)
    nearest = KMeans(16, n_init=4, random_state=3).fit(features).labels_
    # the same partition, whatever the numbers of its parts
    assert len({*zip(told.tolist(), nearest.tolist(), strict=True)}) == len({*nearest.tolist()})


def test_adapt_fits_a_head_on_it(alone, shapes, tmp_path):
    gallery = tmp_path / "gallery"
    with tarfile.open(shapes / "light.tar") as labelled:
        for member in labelled.getmembers():
            number = member.name.rpartition("/")[2].removesuffix(".png")
            if number.isdigit() and int(number) < 6 and "other" not in member.name:
                labelled.extract(member, gallery, filter="data")
    words = ["adapt", "--model", str(alone / "package"), "--gallery", str(gallery),
             "--features", "network", "--out", str(tmp_path / "adapted")]  # fmt: skip
    result = CliRunner().invoke(pi10, words, standalone_mode=False)
    assert result.exit_code == 0, result.output
    adapted = read_package(tmp_path / "adapted")[0]
    assert adapted.classes == ("copepod", "detritus", "noncopepod")
    assert adapted.description["pretraining"]["method"] == "simclr"


def test_a_run_that_is_cut_off_goes_on_as_if_it_had_not_been(alone, tar, tmp_path, monkeypatch):
    """Cut off in the second of three steps of its second epoch, after a checkpoint of the first."""
    monkeypatch.setattr(loop, "_SAVE_S", -1.0)  # a checkpoint after each step
    planned = plan(tmp_path / "cut")
    particles, left = drawn(tar, planned), iter(range(4))

    def cancel_in_the_fifth_step():
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.pretrain(particles, planned, emit=lambda line: None,
                      raise_if_cancelled=cancel_in_the_fifth_step)  # fmt: skip
    assert not (planned.out / "package").exists()
    with pytest.raises(SettingError, match="continue with --resume"):
        runs.pretrain(particles, planned)
    told = []
    runs.pretrain(particles, planned, resume=True, emit=told.append)
    assert "continuing from checkpoint-4, epoch 2" in told
    assert [(row["epoch"], row["loss"]) for row in epochs(planned.out)] == [
        (row["epoch"], row["loss"]) for row in epochs(alone)
    ]
    for name in ("learner", "checkpoint"):
        one, other = (load_file(f / name / "model.safetensors") for f in (alone, planned.out))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not (planned.out / "resume").exists()


def test_a_run_that_is_cut_off_before_its_package_makes_it_without_training(
    tar, tmp_path, monkeypatch
):
    planned = plan(tmp_path / "cut", settings={"epochs": 1, "minutes": 0.0001})
    particles = drawn(tar, planned)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            runs.pretrain(particles, planned, emit=lambda line: None)
    before = epochs(planned.out)
    # the limit in minutes was reached after one of three steps
    assert [row["images"] for row in before] == ["15"]
    runs.pretrain(particles, planned, resume=True, emit=lambda line: None)
    assert epochs(planned.out) == before
    read_package(planned.out / "package")
    told = []
    runs.pretrain(particles, planned, resume=True, emit=told.append)
    assert told == [f"{planned.out} is done"]
    other = plan(planned.out, settings={"epochs": 1, "minutes": 0.0001, "rate": 0.1})
    with pytest.raises(SettingError, match=r"another recipe.rate"):
        runs.pretrain(particles, other, resume=True)


def test_profiles_of_a_table_and_what_has_none(tar, tmp_path):
    """Through the command: unequal lengths, a damaged profile, a particle without one."""
    names, rng = [], np.random.default_rng(0)
    with tarfile.open(tar) as labelled:
        for member in labelled.getmembers():
            if member.name.endswith(".png") and "broken" not in member.name:
                names.append(member.name.removesuffix(".png"))
    names = sorted(names)[:40]
    lengths = rng.integers(5, 60, len(names)).tolist()
    fws = [rng.uniform(0, 9, n).tolist() for n in lengths]
    red = [rng.uniform(0, 900, n).tolist() for n in lengths]
    red[0] = red[0][:-1]
    fws[1][2] = float("nan")
    table = tmp_path / "cytometer.parquet"
    pq.write_table(pa.table({"particle_id": names, "fws": fws, "fl_red": red}), table)
    words = ["pretrain", str(tar), "--profiles", str(table), "--encoder", "lstm", "--out",
             str(tmp_path / "cross"), "--init", "random", "--size", "32", "--batch", "19",
             "--epochs", "1", "--no-tracking"]  # fmt: skip
    result = CliRunner().invoke(pi10, words, standalone_mode=False)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 3  # some inputs could not be used
    out = tmp_path / "cross"
    with (out / "left_out.csv").open() as stream:
        left_out = list(csv.DictReader(stream))
    codes = [row["code"] for row in left_out]
    assert codes.count("bad_profile") == 2
    assert codes.count("no_profile") == 160 + 1 - 40  # the broken file has none either
    assert f"different lengths ({lengths[0]}, {lengths[0] - 1})" in str(left_out)
    with (out / "particles.csv").open() as stream:
        assert {row["particle_id"] for row in csv.DictReader(stream)} == set(names[2:])
    record = json.loads((out / "package" / "model.json").read_text("utf-8"))["pretraining"]
    assert (record["method"], record["encoder"]) == ("profiles", "lstm")
    assert record["channels"] == ["fws", "fl_red"]
    assert 0 <= record["history"][0]["matched"] <= 1
    assert "encoder.lstm.weight_ih_l0" in load_file(out / "learner" / "model.safetensors")


def test_batches_hold_the_profile_as_it_is_and_sides_that_are_jittered(tar, tmp_path):
    from pi10_classifier.training.pretraining.batches import PretrainingBatches
    from pi10_classifier.training.pretraining.learners import CrossModal
    from pi10_classifier.training.pretraining.profiles import scaled, typical_values

    planned = plan(tmp_path / "x", method="profiles", profiles="lines", images=40)
    particles = drawn(tar, planned).particles
    assert all(p.profile.shape == (3, p.height) for p in particles)
    typical = typical_values([p.profile for p in particles])
    batches = PretrainingBatches(particles, planned.recipe, CrossModal.keys, typical)
    try:
        first = batches[0]
        chosen = [particles[i] for i in batches.order[:15]]
        for row, mask, particle in zip(
            first["profile"].numpy(), first["mask"].numpy(), chosen, strict=True
        ):
            assert mask.sum() == particle.height
            np.testing.assert_array_equal(row[:, mask], scaled(particle.profile, typical))
        sides = np.array([(p.height, p.width) for p in chosen])
        ratio = first["sides"].numpy() / sides
        assert (ratio != 1).all() and 0.03 < np.log(ratio).std() < 0.3
        batches.begin(1)
        batches.begin(0)
        again = batches[0]
        assert all(torch.equal(first[key], again[key]) for key in first)
    finally:
        batches.close()


def test_a_draw_depends_on_the_images_alone(tar, shapes, tmp_path):
    planned = plan(tmp_path / "x", images=50)
    one = drawn(tar, planned)
    assert one.images == 161 and len(one.particles) + len(one.left_out) == 50
    folder = tmp_path / "copy" / "elsewhere"
    with tarfile.open(tar) as labelled:
        labelled.extractall(folder, filter="data")
    (folder / "again.png").write_bytes((folder / one.particles[0].member).read_bytes())
    other = drawn(folder, planned)
    assert [p.sha256 for p in other.particles] == [p.sha256 for p in one.particles]
    assert [x.code for x in other.left_out].count("duplicate") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--method", "moco"), "unknown method 'moco'; it must be one of simclr"),
        (("--method", "profiles"), "method profiles needs profiles; give --profiles lines"),
        (("--method", "dino", "--profiles", "lines"), "method dino sees images alone"),
        (("--profiles", "absent.parquet"), "'absent.parquet' is no file"),
        (("--profiles", "lines", "--encoder", "gru"), "unknown profile encoder 'gru'"),
        (("--images", "8"), "--images is 8; it must be at least 32"),
        (("--set", "mixup=0.2"), "a pretraining has no setting 'mixup'"),
        (("--set", "size=64"), "size cannot be given with --set; use --size"),
        (("--set", "colour=1"), "a recipe has no 'colour'"),
        (("--network", "alexnet"), "unknown network or recipe 'alexnet'"),
        (("--init", "absent"), "init is 'absent'"),
        (("--minutes", "0"), "minutes is 0.0; it must be above 0"),
    ],
)
def test_unusable_flags_are_named(tar, tmp_path, flags, message):
    words = ["pretrain", str(tar), "--out", str(tmp_path / "out"), "--no-tracking", *flags]
    with pytest.raises(SettingError, match=message):
        raise CliRunner().invoke(pi10, words, standalone_mode=False).exception
    assert not (tmp_path / "out").exists()


def test_too_few_images_are_told_with_the_reason(tmp_path, noise):
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(noise(number % 5))
    with pytest.raises(SettingError, match=r"5 particles can be used.*35 are left out .35 dupl"):
        drawn(tmp_path, plan(tmp_path / "out"))
