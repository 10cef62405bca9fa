from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.preprocess import Preprocessing, prepare
from pi10_classifier.training import data

REAL = Path(__file__).parents[3] / "shared" / "data"


def test_scan_takes_images_named_group_label_name_only(shapes, sources):
    samples = data.scan(shapes, sources)
    assert Counter((s.source, s.group) for s in samples) == {
        (source, group): 40 for source in ("light", "black") for group in (*data.CLASSES, "other")
    }
    assert {s.label for s in samples if s.group == "copepod"} == {"copepod_0", "copepod_1"}


def test_split_is_70_10_20_in_each_stratum_without_leakage(shapes, sources):
    samples = data.split(data.scan(shapes, sources))
    assert len(samples) == len({(s.source, s.member) for s in samples}) == 320
    per_stratum = Counter((s.source, s.label, s.split) for s in samples)
    for source, label, part in per_stratum:
        expected = {"train": 14, "validation": 2, "test": 4}[part]
        assert per_stratum[source, label, part] == expected


def test_split_depends_on_names_and_seed_not_on_order(shapes, sources):
    samples = data.scan(shapes, sources)
    once = data.manifest(data.split(samples))
    assert data.manifest(data.split(reversed(samples))) == once
    assert data.manifest(data.split(samples, seed=1)) != once
    assert once.splitlines()[0] == "source,member,group,label,split"
    assert once.count("\n") == 321


def test_counts_leave_other_out(shapes, sources):
    table = data.counts(data.split(data.scan(shapes, sources)), "light")
    assert table["train"] == {"copepod": 28, "detritus": 28, "noncopepod": 28}
    assert sum(sum(row.values()) for row in table.values()) == 120


def test_missing_tar_is_named_with_the_remedy(tmp_path, sources):
    with pytest.raises(SettingError, match=r"light\.tar is missing; point --data"):
        data.scan(tmp_path, sources)


def test_damaged_tar_is_named(tmp_path, sources):
    (tmp_path / "light.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(SettingError, match="not a readable tar"):
        data.scan(tmp_path, sources)


def test_missing_class_is_named(shapes_without_detritus, sources):
    with pytest.raises(SettingError, match="no image of class 'detritus'"):
        data.scan(shapes_without_detritus, sources)


def test_class_empty_in_a_split_is_named(too_few_shapes, sources):
    with pytest.raises(SettingError, match="split 'validation' has no image of class 'copepod'"):
        data.split(data.scan(too_few_shapes, sources))


def test_broken_image_is_named(shapes_with_a_broken_image, sources):
    samples = data.scan(shapes_with_a_broken_image, sources)
    with pytest.raises(SettingError, match=r"copepod/copepod_0/broken\.png"):
        list(data.read_rgb(shapes_with_a_broken_image, samples, sources))


def test_both_polarities_are_levelled_to_dark_on_255(shapes, sources):
    samples = [s for s in data.scan(shapes, sources) if s.member.endswith("0000.png")]
    for sample, rgb in data.read_rgb(shapes, samples, sources):
        image = data.level(rgb)
        assert max(image.shape) == data.CACHE_SIDE
        aspect, original = (a.shape[0] / a.shape[1] for a in (image, rgb))
        assert aspect == pytest.approx(original, rel=0.02)
        assert image[0, 0] == 255, sample
        assert image.min() < 80, sample


def test_level_agrees_with_prepare(copepod):
    rgb = np.repeat(copepod[..., None], 3, axis=2)
    image = data.level(rgb, side=96)
    square = prepare(rgb, Preprocessing(size=96))[0]
    top, left = ((96 - n) // 2 for n in image.shape)
    np.testing.assert_array_equal(
        square[top : top + image.shape[0], left : left + image.shape[1]], image
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the real labelled tars are not here")
def test_real_tars_have_every_class_in_every_split():
    samples = data.split(data.scan(REAL))
    for source in data.SOURCES:
        table = data.counts(samples, source.name)
        assert min(min(row.values()) for row in table.values()) >= 100
