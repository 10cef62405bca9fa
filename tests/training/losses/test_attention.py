"""Alpha of dynamic LAS: by hand, and through transformers' own ViT and BEiT."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.attention import alpha, bounded, literal
from pi10_classifier.training.losses.registry import build_loss


def test_bounded_is_one_minus_normalised_entropy():
    even = torch.full((1, 2, 4), 0.25)
    one = torch.zeros(1, 2, 4)
    one[:, :, 2] = 0.7
    half = torch.zeros(1, 1, 4)
    half[:, :, :2] = 0.3
    assert bounded(even).item() == pytest.approx(0.0, abs=1e-6)
    assert bounded(one).item() == pytest.approx(1.0)
    assert bounded(half).item() == pytest.approx(1 - math.log(2) / math.log(4))


def test_bounded_does_not_depend_on_what_the_cls_token_keeps():
    attention = torch.rand(3, 2, 9)
    torch.testing.assert_close(bounded(attention), bounded(attention * 0.1))


def test_literal_is_the_largest_softmax_weight_of_the_mean_over_heads():
    # heads (0.2, 0.0) and (0.6, 0.0): mean (0.4, 0), softmax weight e^0.4 / (e^0.4 + 1)
    attention = torch.tensor([[[0.2, 0.0], [0.6, 0.0]]])
    assert literal(attention).item() == pytest.approx(math.exp(0.4) / (math.exp(0.4) + 1))
    assert literal(torch.full((1, 1, 196), 1 / 196)).item() == pytest.approx(1 / 196)


def test_no_gradient_flows_through_alpha():
    attention = torch.rand(2, 1, 4, requires_grad=True)
    assert not alpha(attention, "bounded").requires_grad


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 1)])
def test_attention_of_another_shape_is_refused(shape):
    with pytest.raises(SettingError, match=r"must be \(images, heads, patches\)"):
        bounded(torch.rand(shape))


def tiny(kind):
    """transformers' own ViT or BEiT with two narrow layers, at random."""
    from transformers import BeitConfig, ViTConfig

    from pi10_classifier.training.networks.huggingface import TransformerNetwork

    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    if kind == "vit":
        config = ViTConfig(**shape)
    else:
        config = BeitConfig(**shape, use_relative_position_bias=True)
    return TransformerNetwork(config, 3, attention=True).eval()


@pytest.mark.parametrize("kind", ["vit", "beit"])
@pytest.mark.parametrize("reading", ["literal", "bounded"])
def test_epsilon_differs_between_images(kind, reading):
    network = tiny(kind)
    rng = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=rng)
    images[1] = 255  # nothing to look at
    with torch.no_grad():
        output = network(images)
        again = network(images.flip(0))
    assert output.attention.shape == (6, 2, 16)
    loss = build_loss("dynamic_las", (100, 40, 10), reading=reading)
    truth = torch.zeros(6, dtype=torch.int64)  # one class: only the image can differ
    found = loss.image_epsilon(output, truth)
    assert ((found >= 0) & (found < 0.3)).all()
    apart = (found[:, None] - found[None]).abs()[~torch.eye(6, dtype=bool)]
    assert apart.min() > 1e-7, found
    assert found.max() - found.min() > (1e-5 if reading == "literal" else 0.01), found
    # the image's own, whatever else is in the batch; and the last class is not smoothed
    torch.testing.assert_close(loss.image_epsilon(again, truth).flip(0), found)
    assert (loss.image_epsilon(output, truth + 2) == 0).all()
