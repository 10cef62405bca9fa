import numpy as np
import pytest

from pi10_classifier.datasets.report import imbalance
from pi10_classifier.errors import SettingError
from pi10_classifier.training.data import sampling

TRUTH = np.repeat([0, 1, 2], [100, 30, 4])


def shown(order):
    return np.bincount(TRUTH[order], minlength=3).tolist()


def test_without_limits_every_image_is_shown_once_and_shuffled():
    order = sampling.epoch_order(TRUTH, seed=0, epoch=0)
    assert sorted(order.tolist()) == list(range(134))
    assert (np.diff(TRUTH[order]) != 0).sum() > 20


def test_minimum_repeats_all_images_of_a_class_alike():
    order = sampling.epoch_order(TRUTH, seed=0, epoch=0, minimum=30)
    assert shown(order) == [100, 30, 30]
    times = np.bincount(order, minlength=134)[130:]
    assert sorted(times.tolist()) == [7, 7, 8, 8]


def test_maximum_shows_every_image_within_the_fewest_epochs():
    seen = np.zeros(134, int)
    for epoch in range(4):
        order = sampling.epoch_order(TRUTH, seed=3, epoch=epoch, minimum=10, maximum=25)
        assert shown(order) == [25, 25, 10]
        assert np.bincount(order, minlength=134)[:130].max() == 1, "none twice in one epoch"
        seen += np.bincount(order, minlength=134)
    assert seen[:100].tolist() == [1] * 100
    assert seen[100:130].min() >= 3


def test_order_is_a_function_of_seed_and_epoch():
    def of(seed, epoch):
        return sampling.epoch_order(TRUTH, seed=seed, epoch=epoch, minimum=9, maximum=50).tolist()

    assert of(1, 2) == of(1, 2)
    assert len({tuple(of(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize(
    ("balance", "expected"), [(0, [100, 30, 4]), (1, [1, 1, 1]), (0.5, [10, 30**0.5, 2])]
)
def test_sample_weights_give_classes_their_counts_to_a_power(balance, expected):
    weights = sampling.sample_weights(TRUTH, balance)
    assert weights.sum() == pytest.approx(1)
    per_class = np.bincount(TRUTH, weights)
    np.testing.assert_allclose(per_class, np.array(expected) / np.sum(expected))


def test_draws_follow_the_weights():
    weights = sampling.sample_weights(TRUTH, 1)
    order = sampling.weighted_order(weights, 30_000, seed=0, epoch=0)
    np.testing.assert_allclose(np.array(shown(order)) / 30_000, 1 / 3, atol=0.02)
    assert (order == sampling.weighted_order(weights, 30_000, seed=0, epoch=0)).all()
    assert (order != sampling.weighted_order(weights, 30_000, seed=0, epoch=1)).any()


def test_imbalance_by_hand():
    assert imbalance([100, 4, 25]) == 25


@pytest.mark.parametrize(
    "call",
    [
        lambda: sampling.epoch_order(TRUTH, seed=0, epoch=0, minimum=5, maximum=4),
        lambda: sampling.epoch_order(TRUTH, seed=0, epoch=0, maximum=0),
        lambda: sampling.epoch_order(TRUTH, seed=0, epoch=0, minimum=-1),
        lambda: sampling.epoch_order(TRUTH, seed=-1, epoch=0),
        lambda: sampling.epoch_order([], seed=0, epoch=0),
        lambda: sampling.epoch_order([0.5, 1], seed=0, epoch=0),
        lambda: sampling.sample_weights(TRUTH, 1.5),
        lambda: sampling.weighted_order([0, 0], 3, seed=0, epoch=0),
        lambda: sampling.weighted_order([1, np.nan], 3, seed=0, epoch=0),
        lambda: imbalance([3, 0]),
    ],
)
def test_what_cannot_be_sampled_is_refused(call):
    with pytest.raises(SettingError):
        call()


@pytest.mark.parametrize(("minimum", "maximum"), [(0, None), (7, None), (0, 3), (4, 6)])
def test_an_epoch_is_as_long_as_said(minimum, maximum):
    order = sampling.epoch_order(TRUTH, seed=0, epoch=1, minimum=minimum, maximum=maximum)
    assert len(order) == sampling.epoch_size(TRUTH, minimum, maximum)
