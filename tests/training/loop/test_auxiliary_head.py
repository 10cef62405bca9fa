"""The second head: labels finer than the classes, learnt beside them and left off."""

import math
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import Tiny, recipe, shades

from pi10_classifier.errors import SettingError
from pi10_classifier.training.data.in_memory import UNKNOWN
from pi10_classifier.training.data.synthetic import add_synthetic
from pi10_classifier.training.loop import loop
from pi10_classifier.training.loop.auxiliary_head import (
    AuxiliaryHeadNetwork,
    auxiliary_loss,
    with_auxiliary_head,
)
from pi10_classifier.training.networks.base import Output


def taxa():
    """The shades, each class of two labels that alternate."""
    training, held = shades()
    order = np.arange(len(training.truth))
    return replace(training, finer=training.truth * 2 + order // 3 % 2), held


def train(network, options, data, **more):
    kept = []
    history = loop.train(
        network, *data, options, lambda average, _: kept.append(average), lambda line: None, **more
    )
    return history, kept


def test_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0, 0, 0], [9.0, 0, 0, 0]])
    output = Output(torch.zeros(3, 2), torch.zeros(3, 5), finer=logits)
    # of four alike: ln 4; of 3:1:1:1, the first: ln 2; the third image's label is unknown
    found = auxiliary_loss(output.finer, torch.tensor([2, 0, UNKNOWN]))
    assert found.item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert auxiliary_loss(output.finer, torch.tensor([UNKNOWN] * 3)).item() == 0


def test_what_is_kept_has_no_second_head_and_another_trunk():
    plain, aided = Tiny(), Tiny()
    train(plain, recipe(ema=0.0), taxa())
    history, kept = train(aided, recipe(ema=0.0, finer=1.0), taxa())
    assert all(type(network) is Tiny for network in kept)
    assert kept[0].state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(aided.wide.weight, plain.wide.weight)
    assert history[0]["loss"] > math.log(6)  # that of the labels is part of what is told


def test_killed_and_resumed_has_the_same_second_head(tmp_path):
    options = recipe(finer=0.5, deterministic=True, epochs=3)
    whole, _ = train(Tiny(), options, taxa())
    steps = iter(range(100))

    class Killed(BaseException):
        pass

    def check():
        if next(steps) == 4:
            raise Killed

    with pytest.raises(Killed):
        train(Tiny(), options, taxa(), folder=tmp_path, save_steps=1, raise_if_cancelled=check)
    parts, _ = train(Tiny(), options, taxa(), folder=tmp_path, save_steps=1, resume=True)
    assert [r["loss"] for r in parts] == [r["loss"] for r in whole]


def test_drawn_particles_have_no_finer_label():
    training = replace(shades()[0], finer=np.arange(30) % 7)
    more = add_synthetic(training, ("copepod", "detritus", "noncopepod"), 2)
    assert more.finer.tolist() == [*(np.arange(30) % 7).tolist(), *[UNKNOWN] * 6]
    assert len(add_synthetic(shades()[0], ("copepod", "detritus", "noncopepod"), 2).finer) == 0


def test_labels_no_finer_than_the_classes_are_refused():
    training = replace(shades()[0], finer=shades()[0].truth)
    with pytest.raises(SettingError, match=r"finer is 0\.3, but the images have 3 labels"):
        with_auxiliary_head(Tiny(), training, recipe(finer=0.3))
    assert isinstance(
        with_auxiliary_head(Tiny(), taxa()[0], recipe(finer=0.3)), AuxiliaryHeadNetwork
    )


def test_mixed_images_are_refused():
    with pytest.raises(SettingError, match=r"finer is 0\.3 and mixup 0\.2"):
        recipe(finer=0.3, mixup=0.2)
