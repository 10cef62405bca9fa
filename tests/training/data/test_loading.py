from dataclasses import replace

import numpy as np
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.preprocess import Preprocessing, prepare
from pi10_classifier.training.data.batches import plain
from pi10_classifier.training.data.camera_look import Device
from pi10_classifier.training.data.in_memory import CACHE_SIDE
from pi10_classifier.training.data.loading import batches, cached_image, load, read_examples
from pi10_classifier.training.recipe import recipe_for


@pytest.fixture(scope="module")
def examples(shapes):
    return read_examples([shapes / "light.tar", shapes / "black.tar"])


def test_grey_ones_are_levelled_and_colour_ones_shrunk_never_grown(examples):
    grey, held = load(examples, recipe_for("mobilenet_v2", size=32))
    assert {image.ndim for image in grey.images} == {2}
    assert {max(image.shape) for image in grey.images} == {CACHE_SIDE}
    assert held.images.shape[1:] == (1, 32, 32)
    small, _ = load(examples, recipe_for("vit", size=48))
    large, held = load(examples, recipe_for("vit", size=96))
    assert {image.shape[2] for image in small.images} == {3}
    assert max(max(image.shape) for image in small.images) == 48
    assert 48 < max(max(image.shape) for image in large.images) < 64
    assert held.images.shape[1:] == (3, 96, 96)
    teacher, _ = load(examples, recipe_for("vit", size=48), side=60)
    assert max(max(image.shape) for image in teacher.images) == 60


def test_truth_strata_and_splits(examples):
    training, held = load(examples, recipe_for("mobilenet_v2", size=32))
    names = [examples.classes[i] for i in training.truth]
    assert sorted(names) == sorted(s.group for s in examples.of("train"))
    assert len(np.unique(training.strata)) == 2 * len(examples.classes)
    assert len(held.truth) == len(examples.of("validation"))
    own = {(s.source, s.label) for s in examples.of("train")}
    assert len(own) > len(examples.classes)
    assert sorted(set(training.finer.tolist())) == list(range(len(own)))
    pairs = set(zip(training.finer.tolist(), training.strata.tolist(), strict=True))
    assert len(pairs) == len(own)  # each source's label is of one class


def test_batches_hold_a_split_once(examples):
    parts = list(batches(examples, "test", Preprocessing(size=32), size=10))
    assert [len(samples) for samples, _, _ in parts[:-1]] == [10] * (len(parts) - 1)
    found = [s for samples, _, _ in parts for s in samples]
    assert sorted(s.member for s in found) == sorted(s.member for s in examples.of("test"))
    assert parts[0][1].shape == (10, 1, 32, 32)


def test_images_that_do_not_fit_into_memory(examples):
    with pytest.raises(SettingError, match=r"images need about .* GiB .*--size"):
        load(examples, recipe_for("vit", size=96), free=2**20)
    load(examples, recipe_for("vit", size=96), free=2**30)


def test_a_manifest_gives_the_same_split(examples, shapes, tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(examples.manifest, "utf-8")
    again = read_examples([shapes / "light.tar", shapes / "black.tar"], manifest=path)
    assert again.samples == examples.samples
    assert again.sha256 == examples.sha256
    labels = tmp_path / "labels.csv"
    tars = [shapes / "light.tar", shapes / "black.tar"]
    labels.write_text("label,class\n" + "".join(f"{x}/*,{x}\n" for x in examples.classes))
    assert read_examples(tars, label_map=labels, manifest=path).sha256 == examples.sha256
    labels.write_text("label,class\ncopepod/*,crustacean\n*,rest\n")
    with pytest.raises(
        SettingError, match="gives 'copepod/copepod_0' the class crustacean, but manifest"
    ):
        read_examples(tars, label_map=labels, manifest=path)
    with pytest.raises(SettingError, match="cannot be read"):
        read_examples([shapes / "light.tar"], manifest=tmp_path / "absent.csv")


def test_one_class_is_no_choice(shapes, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("label,class\ncopepod/*,copepod\n*,-\n", "utf-8")
    with pytest.raises(SettingError, match="only the class copepod"):
        read_examples([shapes / "light.tar"], label_map=labels)


def test_a_source_is_read_through_its_camera(shapes):
    tars = [shapes / "light.tar", shapes / "black.tar"]
    turned = read_examples(tars, cameras={"black": Device(inverted=True)})
    plain = Preprocessing(size=32, level=False)
    for before, after in zip(
        batches(read_examples(tars), "test", plain), batches(turned, "test", plain), strict=True
    ):
        for sample, one, other in zip(before[0], before[1], after[1], strict=True):
            ground = int(one[0, 0, 0]), int(other[0, 0, 0])
            assert (ground[0] < 128) == (sample.source == "black")
            assert ground[1] >= 128, sample
    with pytest.raises(SettingError, match="--camera names the source 'dark'"):
        read_examples(tars, cameras={"dark": Device(grey=True)})


def test_a_wide_crop_is_trimmed_before_it_is_shrunk(copepod):
    """What an unvaried training shows is what serving shows: the particle keeps its pixels."""
    wide = np.full((900, 900), 255, np.uint8)
    height, width = copepod.shape
    wide[400 : 400 + height, 380 : 380 + width] = copepod
    rgb = np.repeat(wide[..., None], 3, axis=2)
    recipe = recipe_for("mobilenet_v2", size=64, augmentation="none")
    served = prepare(rgb, recipe.spec).astype(int)
    view = plain(cached_image(rgb, recipe, 64), np.random.default_rng(0), recipe.spec)
    shown = view.image.astype(int)
    assert np.abs(shown - served).mean() < 4
    untrimmed = prepare(rgb, replace(recipe.spec, trim=0.0)).astype(int)
    assert np.abs(untrimmed - served).mean() > 8
