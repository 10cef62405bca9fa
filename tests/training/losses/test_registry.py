"""Losses against numbers worked out by hand, or by NumPy from the formulas anew."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.cross_entropy import effective_weights
from pi10_classifier.training.losses.label_aware_smoothing import epsilon
from pi10_classifier.training.losses.registry import LOSSES, build_loss
from pi10_classifier.training.networks.base import Output

COUNTS = (100, 60, 20)
# softmax of log(p) is p: logits whose probabilities can be written down
P = np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.25, 0.25, 0.5], [0.2, 0.2, 0.6]])
TRUTH = torch.tensor([0, 1, 2, 0])
MIXED = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
FOCUS = torch.tensor([[[0.4, 0.1, 0.1]], [[0.1, 0.1, 0.1]], [[0.6, 0.01, 0.0]], [[0.2, 0.1, 0.3]]])
BUILT = {
    **{name: {} for name in LOSSES},
    "las": {"form": "paper"},
    "dynamic_las": {"reading": "bounded"},
}


def output(p=P, attention=None, shift=0.0):
    logits = torch.tensor(np.log(p) + shift, dtype=torch.float32)
    return Output(logits, torch.zeros(len(p), 4), attention)


def loss_of(name, target=TRUTH, counts=COUNTS, given=None, **options):
    return build_loss(name, counts, **options)(given or output(), target).item()


def test_st_ce_by_hand():
    by_hand = -(math.log(0.5) + math.log(0.7) + math.log(0.5) + math.log(0.2)) / 4
    assert loss_of("st_ce") == pytest.approx(by_hand, rel=1e-6)
    smoothed = functional.cross_entropy(output().logits, TRUTH, label_smoothing=0.2).item()
    assert loss_of("st_ce", smoothing=0.2) == pytest.approx(smoothed, rel=1e-6)
    soft = -(0.7 * math.log(0.5) + 0.3 * math.log(0.3))
    one = Output(output().logits[:1], torch.zeros(1, 4))
    assert loss_of("st_ce", MIXED[:1], given=one) == pytest.approx(soft, rel=1e-6)


def test_bce_by_hand():
    # one image, K = 2, logits 0 and log 3: sigmoids 1/2 and 3/4; target (0.95, 0.05)
    given = Output(torch.tensor([[0.0, math.log(3.0)]]), torch.zeros(1, 4))
    first = -(0.95 * math.log(0.5) + 0.05 * math.log(0.5))
    second = -(0.05 * math.log(0.75) + 0.95 * math.log(0.25))
    found = loss_of("bce", torch.tensor([0]), (9, 3), given, smoothing=0.1)
    assert found == pytest.approx(first + second, rel=1e-6)
    hard = -(math.log(0.5) + math.log(0.25))
    found = loss_of("bce", torch.tensor([0]), (9, 3), given, smoothing=0.0)
    assert found == pytest.approx(hard, rel=1e-6)


def test_balanced_ce_is_the_posterior_under_the_prior():
    prior = np.array(COUNTS) / sum(COUNTS)
    tilted = P * prior / (P * prior).sum(axis=1, keepdims=True)
    by_hand = -np.log(tilted[np.arange(4), TRUTH]).mean()
    assert loss_of("bal_ce") == pytest.approx(by_hand, rel=1e-5)
    assert loss_of("bal_ce", tau=0.0) == pytest.approx(loss_of("st_ce"), rel=1e-6)


def test_effective_weights_by_hand():
    # beta 0.5, N = 1 and 2: 0.5/0.5 = 1 and 0.5/0.75 = 2/3, scaled to sum to 2: 1.2 and 0.8
    np.testing.assert_allclose(effective_weights((1, 2), 0.5).numpy(), [1.2, 0.8], rtol=1e-6)
    np.testing.assert_allclose(effective_weights((9, 9, 9)).numpy(), [1, 1, 1], rtol=1e-6)
    # Cui: 1/N where beta is all but one, so the weights go as 1/N
    weight = effective_weights(COUNTS, 1 - 1e-9).numpy()
    np.testing.assert_allclose(weight * COUNTS, weight[0] * COUNTS[0], rtol=1e-5)


def test_cb_ce_weighs_each_class():
    w = effective_weights(COUNTS).numpy()
    nll = -np.log(P[np.arange(4), TRUTH])
    assert loss_of("cb_ce") == pytest.approx((w[TRUTH] * nll).mean(), rel=1e-5)
    mixed = -(MIXED.numpy() * w * np.log(P)).sum(axis=1).mean()
    assert loss_of("cb_ce", MIXED) == pytest.approx(mixed, rel=1e-5)


def cosine(seed=0):
    """Logits 30 cos(f, w), made the long way round."""
    rng = np.random.default_rng(seed)
    f, w = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    cos = f @ w.T / np.linalg.norm(f, axis=1)[:, None] / np.linalg.norm(w, axis=1)
    return cos, Output(torch.tensor(30 * cos, dtype=torch.float32), torch.zeros(4, 5))


def ldam_by_hand(cos, counts):
    margin = np.array(counts, float) ** -0.25
    margin *= 0.5 / margin.max()
    z = 30 * cos.copy()
    for i, y in enumerate(TRUTH.tolist()):
        z[i, y] = 30 * (cos[i, y] - margin[y])
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), TRUTH]


def test_ldam_takes_the_margin_from_the_true_cosine():
    cos, given = cosine()
    loss = build_loss("ldam", COUNTS)
    np.testing.assert_allclose(loss.margins.numpy().max(), 0.5)
    # quarter power: a class of a sixteenth of the images has twice the margin
    np.testing.assert_allclose(build_loss("ldam", (16, 1)).margins.numpy(), [0.25, 0.5])
    assert loss(given, TRUTH).item() == pytest.approx(ldam_by_hand(cos, COUNTS).mean(), rel=1e-5)


def test_ldam_re_weights_late():
    cos, given = cosine()
    loss = build_loss("ldam", COUNTS, defer=0.8)
    before = loss(given, TRUTH).item()
    loss.progress = 0.79
    assert loss(given, TRUTH).item() == before
    loss.progress = 0.8
    each, w = ldam_by_hand(cos, COUNTS), effective_weights(COUNTS).numpy()[TRUTH]
    assert loss(given, TRUTH).item() == pytest.approx((w * each).sum() / w.sum(), rel=1e-5)
    never = build_loss("ldam", COUNTS, defer=1.0)
    never.progress = 1.0
    assert never(given, TRUTH).item() == pytest.approx(before)


def test_ldam_refuses_raw_logits_and_mixed_targets():
    _, given = cosine()
    with pytest.raises(SettingError, match="head='cosine'"):
        build_loss("ldam", COUNTS)(given._replace(logits=given.logits * 5), TRUTH)
    with pytest.raises(SettingError, match="switch mixup off"):
        build_loss("ldam", COUNTS)(given, MIXED)


@pytest.mark.parametrize(
    ("shape", "middle"),
    [
        ("concave", math.sin(math.pi / 4)),
        ("linear", 0.5),
        ("convex", 1 - math.cos(math.pi / 4)),
        ("exponential", 0.25),
    ],
)
def test_epsilon_smooths_the_head_most(shape, middle):
    # 60 lies half-way between 20 and 100
    found = epsilon(COUNTS, shape, head=0.3, tail=0.1)
    np.testing.assert_allclose(found.numpy(), [0.3, 0.1 + 0.2 * middle, 0.1], rtol=1e-6)
    prose = epsilon(COUNTS, shape, head=0.0, tail=0.3)
    assert prose[0] < prose[1] < prose[2]


def test_epsilon_of_equal_counts_is_the_tails():
    for shape in ("concave", "linear", "convex", "exponential"):
        np.testing.assert_allclose(epsilon((7, 7, 7), shape, tail=0.05).numpy(), 0.05, rtol=1e-6)
    assert loss_of("las", counts=(7, 7, 7)) == pytest.approx(loss_of("st_ce"))


def las_by_hand(p, y, eps, k=3):
    q = np.full(k, eps / (k - 1))
    q[y] = 1 - eps
    return -(q * np.log(p)).sum()


def test_las_is_equations_2_to_4():
    eps = epsilon(COUNTS).numpy()
    by_hand = np.mean([las_by_hand(p, y, eps[y]) for p, y in zip(P, TRUTH, strict=True)])
    assert loss_of("las") == pytest.approx(by_hand, rel=1e-5)
    assert loss_of("las", head=0.0, tail=0.0) == pytest.approx(loss_of("st_ce"), rel=1e-6)


def test_las_in_mislas_form():
    eps = epsilon(COUNTS, "linear").numpy()[TRUTH]
    nll = -np.log(P[np.arange(4), TRUTH])
    by_hand = ((1 - eps) * nll + eps * -np.log(P).mean(axis=1)).mean()
    assert loss_of("las", form="mislas", shape="linear") == pytest.approx(by_hand, rel=1e-5)


def test_las_of_a_mixed_image_is_the_mixture_of_the_losses():
    eps = epsilon(COUNTS).numpy()
    by_hand = np.mean(
        [
            sum(t[y] * las_by_hand(p, y, eps[y]) for y in range(3))
            for p, t in zip(P, MIXED.numpy(), strict=True)
        ]
    )
    assert loss_of("las", MIXED) == pytest.approx(by_hand, rel=1e-5)


def test_dynamic_las_is_las_with_epsilon_times_alpha():
    from pi10_classifier.training.losses.attention import bounded, literal

    eps = epsilon(COUNTS).numpy()
    for reading, alpha in (("literal", literal), ("bounded", bounded)):
        a = alpha(FOCUS).numpy()
        by_hand = np.mean([las_by_hand(P[i], y, eps[y] * a[i]) for i, y in enumerate(TRUTH)])
        found = loss_of("dynamic_las", given=output(attention=FOCUS), reading=reading)
        assert found == pytest.approx(by_hand, rel=1e-5), reading


def test_dynamic_las_without_attention_says_what_to_use():
    with pytest.raises(SettingError, match="use vit or beit"):
        loss_of("dynamic_las")


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "ldam"])
def test_a_hard_target_equals_the_same_as_shares(name):
    given = output(attention=FOCUS)
    shares = functional.one_hot(TRUTH, 3).float()
    options = BUILT[name]
    assert loss_of(name, given=given, **options) == pytest.approx(
        loss_of(name, shares, given=given, **options), rel=1e-6
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_equal_counts_give_finite_losses_and_gradients(name):
    _, given = cosine()
    logits = given.logits.clone().requires_grad_()
    loss = build_loss(name, (5, 5, 5), **BUILT[name])
    value = loss(given._replace(logits=logits, attention=FOCUS), TRUTH)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_extreme_logits_stay_finite_in_half_precision():
    logits = torch.tensor([[6e4, -6e4, 0.0]], dtype=torch.float16)
    given = Output(logits, torch.zeros(1, 4), FOCUS[:1])
    for name in set(LOSSES) - {"ldam"}:
        value = build_loss(name, COUNTS)(given, torch.tensor([1]))
        assert torch.isfinite(value), name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focal", {}, "unknown loss 'focal'; known: st_ce"),
        ("las", {"gamma": 2}, "las has no option 'gamma'; it takes form"),
        ("las", {"shape": "square"}, "smoothing shape is 'square'"),
        ("las", {"head": 1.0}, "smoothing at the head is 1.0"),
        ("las", {"head": "much"}, "option has the wrong type"),
        ("las", {"form": "other"}, "form of LAS is 'other'"),
        ("las", {"shape": "exponential", "power": 0}, "power is 0"),
        ("dynamic_las", {"reading": "free"}, "reading is 'free'"),
        ("cb_ce", {"beta": 1.0}, "beta is 1.0"),
        ("bce", {"smoothing": -0.1}, "smoothing is -0.1"),
        ("ldam", {"margin": 0}, "LDAM got margin"),
    ],
)
def test_unusable_options_are_named(name, options, message):
    with pytest.raises(SettingError, match=message):
        build_loss(name, COUNTS, **options)


@pytest.mark.parametrize("counts", [(5, 0, 2), (5,), ()])
def test_a_class_without_images_is_named(counts):
    with pytest.raises(SettingError, match="at least one training image"):
        build_loss("st_ce", counts)
