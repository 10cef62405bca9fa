import hashlib
import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from pi10_classifier.errors import ModelError, SettingError  # noqa: E402
from pi10_classifier.training import checkpoint, loop  # noqa: E402
from pi10_classifier.training.dataset import HeldOut, TrainingSet, load  # noqa: E402
from pi10_classifier.training.network_parts import Output  # noqa: E402


class Tiny(torch.nn.Module):
    def __init__(self, gain=1.0):
        super().__init__()
        self.head = torch.nn.Linear(1, 3)
        self.gain = gain

    def forward(self, image):
        features = image.float().mean((2, 3)) / 255
        return Output(self.head(features) * self.gain, features)


def shades(n=30):
    truth = np.arange(n) % 3
    images = [np.full((20, 20), 255, np.uint8) for _ in truth]
    for image, label in zip(images, truth, strict=True):
        image[4 : 16 - 4 * label, 4:16] = 60
    held = np.stack([image[None] for image in images])
    return TrainingSet(images, truth, truth), HeldOut(held, truth, truth * 0)


def recipe(**options):
    return loop.Recipe(**{"epochs": 2, "size": 32, "warm_size": 32, "batch": 10, **options})


def run(network, options, keep=lambda *_: None):
    lines = []
    history = loop.train(network, *shades(), options, keep, lines.append)
    return history, lines


def test_history_and_progress_lines():
    history, lines = run(Tiny(), recipe(epochs=3))
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert all(record["images"] == 30 for record in history)
    assert "ETA" in lines[-1]
    assert "100%" in lines[-1]


def test_same_seed_same_losses():
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append([record["loss"] for record in run(Tiny(), recipe())[0]])
    assert losses[0] == losses[1]


def test_keep_is_called_for_each_new_best_only():
    kept = []
    history, _ = run(Tiny(), recipe(epochs=4), lambda _, reached: kept.append(reached["best"]))
    figures = [record["validation_macro_f1"] for record in history]
    rising = [f for i, f in enumerate(figures) if f > max(figures[:i], default=-1)]
    assert [record["validation_macro_f1"] for record in kept] == rising


def test_nan_loss_is_a_plain_error():
    with pytest.raises(SettingError, match="loss is nan in epoch 1; lower the learning rate"):
        run(Tiny(gain=math.nan), recipe())


def test_minutes_end_the_schedule_at_a_rate_of_zero():
    history, lines = run(Tiny(), recipe(epochs=100_000, minutes=0.01))
    assert len(history) < 5_000
    assert "100% rate 0.0e+00" in lines[-1]


def test_the_error_of_the_loader_reaches_the_caller():
    training, held = shades()
    training.images[3] = "no image"
    with pytest.raises((AttributeError, TypeError)):
        loop.train(Tiny(), training, held, recipe(), lambda *_: None, lambda _: None)


def test_sampling_balances_class_and_source():
    images = [np.full((8, 8), 255, np.uint8)] * 100
    truth = np.array([0] * 96 + [1] * 4)
    drawn = np.concatenate(
        [
            labels.numpy()
            for _, labels in loop._batches(
                TrainingSet(images, truth, truth), recipe(balance=1.0), 0, 32
            )
        ]
    )
    assert 30 < (drawn == 1).sum() < 70


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"minutes": 0}, {"size": 8}, {"batch": 1}])
def test_unusable_recipe_is_refused(bad):
    with pytest.raises(SettingError):
        recipe(**bad)


def test_load_splits_and_prepares(shapes, sources):
    loaded = load(shapes, 32, sources=sources)
    assert len(loaded.training.images) == 168
    assert loaded.validation.images.shape == (24, 1, 32, 32)
    assert np.bincount(loaded.training.strata).tolist() == [28] * 6
    assert np.bincount(loaded.validation.sources).tolist() == [12, 12]


def test_checkpoint_comes_back(tmp_path):
    network = Tiny()
    checkpoint.save_checkpoint(tmp_path, network, {"name": "tiny"})
    state, fields = checkpoint.load_checkpoint(tmp_path)
    assert fields["name"] == "tiny"
    assert torch.equal(state["head.weight"], network.head.weight)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.json", "model.safetensors"]


def test_checkpoint_missing_a_part_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        checkpoint.load_checkpoint(tmp_path)


def test_weights_of_another_description_are_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path, Tiny(), {})
    fields = json.loads((tmp_path / "checkpoint.json").read_text())
    torch.manual_seed(1)
    checkpoint.save_checkpoint(tmp_path, Tiny(), {})
    checkpoint.write_description(tmp_path, fields)
    with pytest.raises(ModelError, match="is not the file"):
        checkpoint.load_checkpoint(tmp_path)


def test_pickled_weights_are_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path, Tiny(), {})
    torch.save(Tiny().state_dict(), tmp_path / "model.safetensors")
    fields = json.loads((tmp_path / "checkpoint.json").read_text())
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes())
    checkpoint.write_description(tmp_path, {**fields, "weights_sha256": digest.hexdigest()})
    with pytest.raises(ModelError, match="no readable checkpoint"):
        checkpoint.load_checkpoint(tmp_path)
