import cv2
import numpy as np
import pytest

from pi10_classifier.training import judge


def test_scatter_by_hand():
    found = judge.scatter(
        np.array([[0.95, 0.03, 0.02], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.0, 0.08, 0.92]]),
        ("copepod", "detritus", "noncopepod"),
    )
    assert found == {
        "n": 4,
        "called": {"copepod": 2, "detritus": 1, "noncopepod": 1},
        "median_top_probability": pytest.approx(0.76),
        "share_above_0.9": 0.5,
    }


class Answers:
    """A model that puts ever more weight on the image's own grey level."""

    def scores(self, batch):
        assert len(batch) <= 64
        level = batch.mean(axis=(1, 2, 3)) / 255
        return np.stack([level, 1 - level, 0 * level], axis=1).astype(np.float32)


def test_classify_keeps_the_order_over_batches():
    images = [np.full((1, 4, 4), i, np.uint8) for i in range(150)]
    found = judge.classify(Answers(), images)
    assert found.shape == (150, 3)
    np.testing.assert_allclose(found[:, 0], np.arange(150) / 255, atol=1e-6)


def test_no_examples_no_count(package, tmp_path):
    assert judge.look_at_examples(package, tmp_path / "absent") == {}


def test_examples_are_counted(package, copepod, tmp_path):
    for i in range(3):
        rgb = np.repeat(copepod[..., None], 3, axis=2)
        (tmp_path / f"{i}.tif").write_bytes(cv2.imencode(".tif", rgb)[1].tobytes())
    assert sum(judge.look_at_examples(package, tmp_path).values()) == 3
