"""What makes `pi10 adapt` to be trusted: joined features, replay, a choice without noise."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import marks
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.datasets.scan import scan
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation import choice, features
from pi10_classifier.packaging.adaptation.adapt import NotBetterError, adapt
from pi10_classifier.packaging.adaptation.as_it_is import paired
from pi10_classifier.packaging.adaptation.design import CLIP, Scale, design, principal
from pi10_classifier.packaging.adaptation.fitting import best_head
from pi10_classifier.packaging.adaptation.gallery import Gallery, check_gallery
from pi10_classifier.packaging.adaptation.replay import Replay, export_replay, read_replay

OLD = ("copepod", "detritus", "noncopepod")
GROUPS = ("copepod", "detritus", "krill", "noncopepod")
FEW = dict.fromkeys(GROUPS, 8)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Model.load(marks.package(tmp_path_factory.mktemp("m") / "marks"))


# half axes of a class's ellipse, px
AXES = {"copepod": (16, 5), "detritus": (5, 5), "krill": (9, 9), "noncopepod": (12, 8)}


def unmeasured(count: int) -> np.ndarray:
    return np.full((count, len(NAMES)), np.nan, np.float32)


def ellipses(folder: Path, counts: dict[str, int]) -> Path:
    """Dark ellipses on a light ground: what is measured tells the classes."""
    rng = np.random.default_rng(0)
    for group, count in counts.items():
        (folder / group).mkdir(parents=True)
        for number in range(count):
            image = np.clip(rng.normal(235, 3, (44, 44)), 0, 255).astype(np.uint8)
            axes = [round(x * rng.uniform(0.85, 1.15)) for x in AXES[group]]
            turn = rng.uniform(0, 180)
            cv2.ellipse(image, (22, 22), axes, turn, 0, 360, int(rng.integers(40, 110)), -1)
            cv2.imwrite(str(folder / group / f"{number}.png"), image)
    return folder


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return ellipses(tmp_path_factory.mktemp("g") / "crops", FEW)


@pytest.fixture(scope="module")
def joined(base, crops, tmp_path_factory):
    return adapt(base, crops, tmp_path_factory.mktemp("j") / "joined", features="joined")


def few(n: int = 24, size: int = 12, apart: float = 2.0, seed: int = 0) -> Gallery:
    """Two classes, ``apart`` standard deviations in one feature; nothing measured."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 1, size))
    x[:, 0, 0] += apart * y
    return Gallery(x.astype(np.float32), y, ("a", "b"), np.arange(n), unmeasured(n))


class TestJoined:
    def test_the_package_takes_what_is_measured_and_older_programs_refuse_it(self, joined):
        said = json.loads((joined.package / "model.json").read_text("utf-8"))
        assert said["format"] == 4 and joined.settings["features"] == "joined"
        assert set(said["measured"]["names"]) <= set(NAMES)
        assert joined.parity < 1e-4

    def test_it_serves_and_judges_alike(self, joined, crops, tmp_path):
        """From image to score by two ways: a run, and the evaluation's own reading."""
        classify([str(crops)], tmp_path / "run", Settings(model=joined.package, jobs=1))
        import pyarrow.parquet as pq

        table = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pylist()
        served = {row["member"]: [row[f"score_{x}"] for x in GROUPS] for row in table}
        found = scan([crops])
        scored = score(Model.load(joined.package), found, found.samples)
        assert len(served) == len(scored.samples) == 32
        for sample, wanted in zip(scored.samples, scored.probabilities, strict=True):
            name = next(x for x in served if x.endswith(sample.member))
            assert np.float32(served[name]) == pytest.approx(wanted, abs=1e-6)

    def test_adapted_once_more_without_it_is_an_ordinary_package(self, joined, crops, tmp_path):
        again = adapt(
            Model.load(joined.package), crops, tmp_path / "again", features="network", anyway=True
        )
        package, _ = read_package(again.package)
        assert package.measured is None and package.description["format"] == 2

    def test_missing_and_wild_numbers(self):
        told = np.float32([[1, np.nan], [2, np.nan], [3, 5], [np.nan, np.nan], [1e6, np.nan]])
        scale = Scale.of(told)
        assert scale.columns.tolist() == [0], "the other is mostly missing"
        applied = scale.apply(told)[:, 0]
        assert applied[3] == 0 and applied[4] == CLIP
        same = Scale.of(np.ones((4, 1), np.float32))
        assert (same.apply(np.ones((2, 1), np.float32)) == 0).all()

    def test_nothing_measured_means_nothing_joined(self):
        assert best_head(few(), None, None).scale is None
        with pytest.raises(SettingError, match="no outline that could be measured"):
            best_head(few(), None, None, features="joined")


class TestOwnHead:
    def test_it_is_read_from_the_graph(self, base):
        package, graph = read_package(base.package.folder)
        trunk = features.cut(package, graph)
        own = features.own_head(package, graph, trunk)
        images = np.random.default_rng(0).integers(0, 255, (5, 1, 32, 32), np.uint8)
        logits = own.logits(trunk.run([images])) / package.temperature
        told = np.exp(logits - logits.max(axis=1, keepdims=True))
        assert told / told.sum(axis=1, keepdims=True) == pytest.approx(
            base.scores(images), abs=1e-5
        )

    def test_few_labels_correct_the_models_answer(self):
        """The feature that the model goes by is one of many; two labels a class tell of none."""
        size = 60
        own = features.OwnHead(
            np.float32(np.eye(size)[:, [0, 0]] * [-3, 3]), np.zeros(2, np.float32)
        )
        test, right = few(200, size, 4.0, seed=9), []
        for seed in range(5):
            gallery = few(4, size, 4.0, seed)
            for head in (own, None):
                fitted = best_head(gallery, None, head).fitted
                right.append((fitted.logits(test.x[:, 0]).argmax(axis=1) == test.y).mean())
        assert np.mean(right[::2]) > np.mean(right[1::2]) + 0.05


class TestChoice:
    def test_too_few_crops_choose_nothing(self):
        assert not best_head(few(18), None, None).chosen
        assert best_head(few(20), None, None).chosen

    def test_labels_without_meaning_leave_the_default_and_a_modest_figure(self):
        figures, strengths = [], []
        for seed in range(3):
            best = best_head(few(30, apart=0.0, seed=seed), None, None)
            figures.append(best.tried_as.macro_f1)
            strengths.append(best.tried_as.settings["c"])
        assert np.median(strengths) <= 1e-3 and np.mean(figures) < 0.65

    def test_the_first_within_one_standard_error_is_taken(self):
        gallery = few(60, apart=3.0)
        designs = {"network": design(gallery, None, None, None)}
        shuffled = np.random.default_rng(0).permutation(60)
        designs["joined"] = replace(designs["network"], rows=designs["network"].rows[shuffled])
        good, alike = (choice.Settings("network", c, 0.0) for c in (1e-3, 1.01e-3))
        bad = choice.Settings("joined", 1e-3, 0.0)  # the rows of other crops
        for among in ([good, alike], [alike, good], [good, bad]):
            assert choice.select(gallery, designs, among, np.arange(60), 0) == among[0]
        assert choice.select(gallery, designs, [bad, good], np.arange(60), 0) == good

    def test_principal_directions_keep_what_there_is(self):
        z = np.random.default_rng(0).normal(size=(10, 30))
        for some in (z, z.T):
            basis = principal(some, 99)
            assert basis.T @ basis == pytest.approx(np.eye(basis.shape[1]), abs=1e-8)
            assert (some @ basis) @ basis.T == pytest.approx(some, abs=1e-8)


@pytest.fixture(scope="module")
def file(base, tmp_path_factory):
    """Source features of nine images a class."""
    home = tmp_path_factory.mktemp("r")
    source = marks.tree(home / "source", dict.fromkeys(OLD, 12))
    done = export_replay(base, [source], home / "replay.npz", each=9)
    assert done.images == dict.fromkeys(OLD, 9) and done.bytes < 20_000
    return done.out


class TestReplay:
    def test_source_images_are_fitted_together(self, base, crops, file, tmp_path):
        done = adapt(base, crops, tmp_path / "out", replay=file)
        assert done.replayed == dict.fromkeys(OLD, 9) and done.settings["replay"] > 0
        assert "source images were fitted" in (done.package / "README.md").read_text("utf-8")

    def test_beside_the_model_it_is_found(self, base, crops, file, tmp_path):
        folder = shutil.copytree(base.package.folder, tmp_path / "marks")
        shutil.copy(file, folder / "replay.npz")
        done = adapt(Model.load(folder), crops, tmp_path / "out")
        assert done.replayed == dict.fromkeys(OLD, 9)

    def test_a_class_without_source_images_is_not_outweighed(self):
        y, source = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1])
        weight = choice.weights(y, source, 3, 0.5)
        each = [weight[:4][y == k].sum() + weight[4:][source == k].sum() for k in range(3)]
        assert each == pytest.approx([2.0, 2.0, 2.0])

    def test_files_that_cannot_do(self, base, crops, file, tmp_path):
        trunk = features.cut(*read_package(base.package.folder))
        torn = tmp_path / "torn.npz"
        torn.write_bytes(file.read_bytes()[:300])
        with pytest.raises(SettingError, match="no file of source features"):
            read_replay(torn, trunk)
        other = Model.load(marks.package(tmp_path / "other"))
        with np.load(file) as kept:
            content = dict(kept)
        meta = json.loads(str(content["meta"])) | {"trunk_sha256": "0"}
        np.savez(tmp_path / "of.npz", **(content | {"meta": np.array(json.dumps(meta))}))
        with pytest.raises(SettingError, match="features of another network"):
            adapt(other, crops, tmp_path / "out", replay=tmp_path / "of.npz")
        content["x"] = np.full_like(content["x"], np.nan)
        np.savez(tmp_path / "nan.npz", **content)
        with pytest.raises(SettingError, match="are not numbers"):
            read_replay(tmp_path / "nan.npz", trunk)
        strangers = Replay(np.zeros((1, 16), np.float32), unmeasured(1), ("fish",), ("s",))
        assert not strangers.of(GROUPS).labels
        with pytest.raises(SettingError, match=r"must end in \.npz"):
            export_replay(base, [crops], tmp_path / "replay")

    def test_the_command(self, base, tmp_path):
        source = marks.tree(tmp_path / "source", dict.fromkeys(OLD, 4))
        out = tmp_path / "replay.npz"
        done = CliRunner().invoke(
            pi10,
            ["export", "replay", "--model", str(base.package.folder), "--data", str(source),
             "--each", "3", "--out", str(out)],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "3 copepod, 3 detritus, 3 noncopepod; 0.0 MB" in done.output and out.is_file()


class TestAsItIs:
    def test_a_head_that_is_not_better_is_refused(self, base, tmp_path):
        """The model is right on all of these, and turned they are of other classes."""
        known = marks.tree(tmp_path / "known", dict.fromkeys(OLD, 6))
        with pytest.raises(NotBetterError, match="not better than tiny as it is") as refused:
            adapt(base, known, tmp_path / "out")
        assert refused.value.compared.as_it_is == 1.0 and not (tmp_path / "out").exists()
        command = ["adapt", "--model", str(base.package.folder), "--gallery", str(known),
                   "--out", str(tmp_path / "out")]  # fmt: skip
        done = CliRunner().invoke(pi10, command)
        assert isinstance(done.exception, NotBetterError)
        assert "--anyway writes the head" in done.exception.message
        done = CliRunner().invoke(pi10, [*command, "--anyway"])
        assert done.exit_code == 0, done.output
        assert "not better than the model as it is" in done.output

    def test_the_gain_is_paired_and_over_particles(self):
        truth = np.arange(40) % 2
        wrong = truth.copy()
        wrong[:10] = 1 - wrong[:10]
        told = paired(truth, wrong, truth, np.arange(40), ("a", "b"))
        assert told.gain == pytest.approx(0.25, abs=0.01) and told.better
        assert told.low < told.gain < told.high
        same = paired(truth, wrong, wrong, np.arange(40), ("a", "b"))
        assert same.gain == same.error == 0 and not same.better

    def test_new_classes_cannot_be_compared(self, joined):
        assert joined.compared is None


def test_readers_that_cannot_pass_on_measured_numbers_refuse(joined, base, tmp_path):
    from pi10_classifier.packaging.cascade import cascade

    taking = Model.load(joined.package)
    with pytest.raises(SettingError, match="takes measured numbers"):
        cascade(taking, taking, [Path("x")], tmp_path / "out", manifest=Path("m.csv"))
    with pytest.raises(ModelError, match="measured numbers are"):
        taking.scores(np.zeros((2, 1, 32, 32), np.uint8), np.zeros((1, 1), np.float32))


def test_a_gallery_without_a_crop_is_told():
    """As where a manifest has all of its images in the test part."""
    with pytest.raises(SettingError, match="crops has no crop to fit on"):
        check_gallery(Path("crops"), [], [])
