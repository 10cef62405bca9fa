import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import NAN, Tiny, recipe, shades

from pi10_classifier.errors import SettingError
from pi10_classifier.training.data.in_memory import HeldOut, TrainingSet
from pi10_classifier.training.loop import loop, memory
from pi10_classifier.training.loop.schedule import Schedule
from pi10_classifier.training.networks.base import CosineHead
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.recipe import recipe_for


def run(network, options, keep=lambda *_: None, **more):
    lines = []
    history = loop.train(network, *shades(), options, keep, lines.append, **more)
    return history, lines


def losses(history):
    return [(r["loss"], r["validation_macro_f1"], r["validation_nll"]) for r in history]


def test_history_progress_lines_and_watchers():
    told = []

    class Watcher:
        def on_epoch(self, record):
            told.append(dict(record))

    history, lines = run(Tiny(), recipe(epochs=3), listeners=[Watcher()], names=("a", "b", "c"))
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert all(record["images"] == 30 for record in history)
    assert all(0 <= record["waiting"] <= 1 for record in history)
    assert {"validation_f1_a", "validation_nll", "images_per_second"} <= history[0].keys()
    assert [record["epoch"] for record in told] == [1, 2, 3]
    assert "ETA" in lines[-1]
    assert "100%" in lines[-1]


@pytest.mark.parametrize("seed", [0, 4, 5])
def test_it_learns(seed):
    """From any start more than a guess, which has a macro-F1 of 1/6; how much, depends on it."""
    options = recipe(epochs=25, rate=0.05, ema=0.0, augmentation="none", seed=seed)
    history, _ = run(Tiny(seed=seed), options)
    assert history[-1]["validation_macro_f1"] > 0.3
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_same_seed_same_losses(optimiser):
    options = recipe(optimiser=optimiser)
    found = [losses(run(Tiny(dropout=0.3), options)[0]) for _ in range(2)]
    assert found[0] == found[1]
    assert losses(run(Tiny(dropout=0.3), recipe(optimiser=optimiser, seed=1))[0]) != found[0]


@pytest.mark.parametrize("processes", [False, True])
def test_loaders_do_not_change_what_is_learnt(processes):
    ways = ({"loaders": 1}, {"loaders": 3, "processes": processes})
    found = [losses(run(Tiny(), recipe(), **way)[0]) for way in ways]
    assert found[0] == found[1]


def test_accumulated_passes_are_one_step_of_the_larger_batch():
    weights = []
    for batch, accumulate in ((30, 1), (10, 3), (5, 6)):
        network = Tiny().eval()
        network.norm = torch.nn.Identity()  # a batch norm sees its own batch only
        options = recipe(
            batch=batch, accumulate=accumulate, epochs=1, optimiser="sgd", balance=0.0, ema=0.0
        )
        run(network, options)
        weights.append(network.head.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])
    torch.testing.assert_close(weights[0], weights[2])


def test_keep_is_called_for_each_new_best_only():
    kept = []
    history, _ = run(
        Tiny(), recipe(epochs=6, rate=0.05), lambda _, reached: kept.append(reached["best"])
    )
    figures = [record["validation_macro_f1"] for record in history]
    rising = [f for i, f in enumerate(figures) if f > max(figures[:i], default=-1)]
    assert [record["validation_macro_f1"] for record in kept] == rising


def test_kept_weights_are_the_average_and_lag_behind():
    kept = []

    def keep(average, _):
        kept.append({k: v.clone() for k, v in average.state_dict().items()})

    network = Tiny()
    run(network, recipe(epochs=1, ema=0.9), keep)
    begun, ended = Tiny().head.weight, network.head.weight
    moved = (kept[0]["head.weight"] - begun).abs().sum()
    assert 0 < moved < (ended - begun).abs().sum()
    network = Tiny()
    run(network, recipe(epochs=1, ema=0.0), keep)
    assert torch.equal(kept[1]["head.weight"], network.head.weight)


def test_patience_ends_a_training_that_no_longer_gets_better():
    network = Tiny()
    network.norm = torch.nn.Identity()  # whose statistics move at any rate
    history, _ = run(network, recipe(epochs=50, rate=1e-9, patience=3))
    assert len(history) == 4


def test_minutes_end_the_schedule_at_a_rate_of_zero():
    history, lines = run(Tiny(), recipe(epochs=100_000, minutes=0.02))
    assert len(history) < 5_000
    assert "100% rate 0.0e+00" in lines[-1]


def test_schedules_rise_and_fall():
    linear = Schedule(recipe_for("vit", epochs=1), steps=100)
    assert linear.factor(0) == pytest.approx(0.1)
    assert linear.factor(9) == pytest.approx(1.0)
    assert linear.factor(55) == pytest.approx(0.5)
    assert linear.factor(100) == 0
    cosine = Schedule(recipe_for("vit", schedule="cosine", warmup_share=0.0), steps=100)
    assert cosine.factor(0) == pytest.approx(1.0)
    assert cosine.factor(50) == pytest.approx(0.5)
    assert cosine.factor(100) == pytest.approx(0.0)


def test_warm_size_comes_first():
    sizes = []
    network = Tiny()
    network.register_forward_pre_hook(
        lambda module, given: sizes.append(given[0].shape[-1]) if module.training else None
    )
    history, _ = run(network, recipe(epochs=4, size=48, warm_size=32, warm_share=0.5, ema=0.0))
    assert [record["size"] for record in history] == [32, 32, 48, 48]
    assert sizes == [32] * 6 + [48] * 6


def test_bf16_trains_on_the_cpu():
    history, _ = run(build("mobilenet_v2", 3, size=32, channels=1, init="random"),
                     recipe(epochs=1, precision="bf16"))  # fmt: skip
    assert np.isfinite(history[0]["loss"])


@pytest.mark.parametrize("loss", ["bce", "bal_ce", "cb_ce", "las"])
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_each_loss_trains_mixed_or_not(loss, mixup):
    history, _ = run(Tiny(), recipe(loss=loss, mixup=mixup, epochs=1))
    assert np.isfinite(history[0]["loss"])


def test_ldam_asks_for_its_head_and_defers():
    with pytest.raises(SettingError, match="head='cosine'"):
        run(Tiny(), recipe(loss="ldam"))
    network = Tiny()
    network.head = CosineHead(4, 3)
    history, _ = run(network, recipe(loss="ldam", loss_options={"defer": 0.5}))
    assert np.isfinite([record["loss"] for record in history]).all()
    with pytest.raises(SettingError, match="not defined for mixed images"):
        run(network, recipe(loss="ldam", mixup=0.2))
    with pytest.raises(SettingError, match="LDAM's scale is 10"):
        run(network, recipe(loss="ldam", loss_options={"scale": 10.0}))


def test_dynamic_las_asks_for_attention():
    with pytest.raises(SettingError, match="built with attention=True"):
        run(Tiny(), recipe(loss="dynamic_las"))
    network = build("vit_tiny", 3, size=32, channels=1, init="random", attention=True)
    network.trunk.layers = network.trunk.layers[:1]
    options = recipe_for(
        "vit_tiny", loss="dynamic_las", size=32, channels=1, epochs=1, batch=10, accumulate=2
    )
    assert np.isfinite(run(network, options)[0][0]["loss"])


def test_nan_loss_is_a_plain_error():
    with pytest.raises(SettingError, match="loss is nan in epoch 1; lower the learning rate"):
        run(Tiny(gain=NAN), recipe())


def test_the_error_of_a_thread_reaches_the_caller():
    training, held = shades()
    training.images[3] = "no image"
    with pytest.raises((AttributeError, TypeError)):
        loop.train(Tiny(), training, held, recipe(), lambda *_: None, lambda _: None)


def test_what_check_raises_ends_the_training():
    seen = []

    def check():
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Tiny(), recipe(), raise_if_cancelled=check)
    assert len(seen) == 2


def test_missing_class_and_empty_split_are_named():
    training, held = shades()
    names = ("copepod", "detritus", "salp", "squid")
    with pytest.raises(SettingError, match="class 'squid' has no training image"):
        loop.train(Tiny(), training, held, recipe(), lambda *_: None, names=names)
    few = HeldOut(held.images[:2], held.truth[:2])
    with pytest.raises(SettingError, match="class 'salp' has no validation image"):
        loop.train(Tiny(), training, few, recipe(), lambda *_: None, names=names[:3])
    none = HeldOut(held.images[:0], held.truth[:0])
    with pytest.raises(SettingError, match="the validation split is empty"):
        loop.train(Tiny(), training, none, recipe(), lambda *_: None)
    nothing = TrainingSet([], training.truth[:0], training.strata[:0])
    with pytest.raises(SettingError, match="the training split is empty"):
        loop.train(Tiny(), nothing, held, recipe(), lambda *_: None)


def test_too_little_memory_is_said_before_training(monkeypatch):
    network = build("mobilenet_v2", 3, size=96, channels=1, init="random")
    assert memory.free_memory(torch.device("cpu")) > 0
    free = 2**32  # what else runs here is not the test's matter
    monkeypatch.setattr(memory, "free_memory", lambda _: free)
    an_image = memory.activation_bytes(network, 96, 1)
    assert 2e6 < an_image < 4e7
    batch = int(2 * free / an_image)
    with pytest.raises(SettingError, match=r"GiB on cpu, .* give --batch \d+ or less") as caught:
        memory.check_memory(network, batch, 96, 1, average=True)
    fits = int(caught.value.message.split("--batch ")[1].split()[0])
    assert batch / 4 < fits < batch
    memory.check_memory(network, 8, 96, 1, average=True)


def test_activations_are_measured_exactly():
    """A linear layer keeps its input, a ReLU its output, log_softmax its own."""
    network = Tiny()
    network.norm = torch.nn.Identity()
    # brightness is a leaf without gradient: 4 B kept for wide; relu's output 16 B is what the
    # head keeps too; the scaled logits are not kept
    assert memory.activation_bytes(network, 32, 1) == 4 + 16


def test_precision_and_device_are_checked():
    with pytest.raises(SettingError, match="fp16 needs a GPU"):
        run(Tiny(), recipe(precision="fp16"), device="cpu")
    with pytest.raises(SettingError, match="device is 'tpu'"):
        run(Tiny(), recipe(), device="tpu")


def test_determinism_is_switched_off_again():
    run(Tiny(), recipe(deterministic=True, epochs=1))
    assert not torch.are_deterministic_algorithms_enabled()
