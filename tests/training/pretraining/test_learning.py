"""Encoders of profiles, losses and learners, on numbers that can be worked out."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.pretraining.learners import METHODS, learner
from pi10_classifier.training.pretraining.losses import (
    CentredCrossEntropy,
    SymmetricContrastive,
    negative_cosine,
    spread,
    two_views,
)
from pi10_classifier.training.pretraining.profile_encoders import (
    ENCODERS,
    WIDTH,
    profile_encoder,
)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_changes_no_profile(name):
    torch.manual_seed(0)
    encoder = profile_encoder(name, 3).eval()
    short, long = torch.randn(1, 3, 9), torch.randn(1, 3, 40)
    both = torch.cat((functional.pad(short, (0, 31)), long))
    mask = torch.arange(40) < torch.tensor([[9], [40]])
    together = encoder(both, mask)
    assert together.shape == (2, WIDTH)
    torch.testing.assert_close(together[:1], encoder(short, mask[:1, :9]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1])


def test_an_unknown_encoder_is_named():
    with pytest.raises(SettingError, match="'rnn'; it must be one of cnn, lstm, transformer"):
        profile_encoder("rnn", 3)


def test_the_contrastive_loss_is_symmetric_and_falls_as_pairs_agree():
    torch.manual_seed(0)
    loss, one, other = SymmetricContrastive(), torch.randn(8, 16), torch.randn(8, 16)
    there, _ = loss(one, other)
    back, _ = loss(other, one)
    torch.testing.assert_close(there, back)
    agreed, matched = loss(one, 3 * one)  # length does not count
    assert agreed < there and matched == 1


def test_pairs_that_are_all_alike_cost_the_logarithm_of_their_number():
    same = torch.ones(8, 16)
    value, _ = SymmetricContrastive()(same, same)
    assert value.item() == pytest.approx(math.log(8), abs=1e-5)


@pytest.mark.parametrize(("value", "limit"), [(50.0, 100.0), (-50.0, 0.01)])
def test_the_temperature_is_learnt_within_limits(value, limit):
    loss = SymmetricContrastive()
    assert loss.log_scale.requires_grad
    with torch.no_grad():
        loss.log_scale.fill_(value)
    assert loss.scale.item() == pytest.approx(limit, rel=1e-5)
    loss.limit()
    assert loss.log_scale.item() == pytest.approx(math.log(limit), rel=1e-5)


def test_two_views_are_told_from_the_others():
    one = torch.eye(4)
    value, matched = two_views(one, one, temperature=0.2)
    # the partner has similarity 1, each of the six others 0
    assert value.item() == pytest.approx(-math.log(math.e**5 / (math.e**5 + 6)), abs=1e-4)
    assert matched == 1


def test_a_prediction_is_pulled_and_its_target_is_not():
    prediction, target = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    negative_cosine(prediction, target).backward()
    assert prediction.grad is not None and target.grad is None


def test_the_centre_follows_the_teacher():
    loss = CentredCrossEntropy(3, keep=0.5)
    logits = torch.tensor([[4.0, 0.0, 0.0]])
    loss((logits, logits), (logits, logits))
    assert loss.centre.tolist() == [[2.0, 0.0, 0.0]]
    loss.eval()((logits, logits), (logits, logits))
    assert loss.centre.tolist() == [[2.0, 0.0, 0.0]]


def test_the_spread_tells_a_collapse():
    torch.manual_seed(0)
    assert spread(torch.ones(50, 32)) == 0
    assert spread(torch.randn(500, 32)).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_each_method_reaches_the_network(name):
    torch.manual_seed(0)
    network = build("mobilenet_v2", 4, size=32, channels=1, init="random")
    learning = learner(name, network, 32, "cnn", 3).train()
    image = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    batch = {
        "image": image,
        "other": image.flip(3),
        "sides": torch.rand(4, 2) * 90 + 10,
        "profile": torch.randn(4, 3, 12),
        "mask": torch.ones(4, 12, dtype=torch.bool),
    }
    learned = learning(**{key: batch[key] for key in learning.keys})
    learned.loss.backward()
    stem = next(learning.network.parameters())
    assert math.isfinite(learned.loss.item()) and stem.grad is not None and stem.grad.any()
    before = next(learning.kept.parameters()).clone()
    with torch.no_grad():
        stem.add_(1)
    learning.after_step(0.0)
    moved = (next(learning.kept.parameters()) - before).abs().max().item()
    # DINO keeps the running mean, which takes one part in a hundred of a step
    assert moved == pytest.approx(0.01 if name == "dino" else 1, rel=1e-3)
