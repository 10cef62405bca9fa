import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import Tiny, recipe, shades

from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import embedded
from pi10_classifier.model.session import Model
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.distillation import (
    GivenTeacher,
    NetworkTeacher,
    PackageTeacher,
    check_teacher,
    distillation,
)
from pi10_classifier.training.loop import loop

SURE = np.log(np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], np.float32))


def test_distillation_is_the_divergence_times_the_square_of_the_temperature():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 3))

    def at(x, temperature):
        raised = np.exp(x / temperature)
        return raised / raised.sum(axis=1, keepdims=True)

    for temperature in (1.0, 4.0):
        p, q = at(teacher, temperature), at(student, temperature)
        wanted = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
        found = distillation(torch.tensor(student), torch.tensor(teacher), temperature)
        assert found.item() == pytest.approx(wanted, rel=1e-5)
    same = torch.tensor(teacher)
    assert distillation(same, same + 7, 2.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_a_student_follows_its_teacher_against_the_labels(seed):
    """All weight on a teacher that calls every class by the next one's name."""
    training, held = shades()
    turned = GivenTeacher(SURE[(training.truth + 1) % 3] * 3)
    network = Tiny(seed=seed)
    options = recipe(epochs=25, rate=0.05, ema=0.0, augmentation="none", distil=1.0, seed=seed)
    loop.train(network, training, held, options, lambda *_: None, lambda _: None, teacher=turned)
    guess = loop.predict(network, held.images).argmax(axis=1)
    assert (guess == (held.truth + 1) % 3).mean() > 0.5 > (guess == held.truth).mean()


def test_a_package_sees_the_students_draw_and_says_its_probabilities():
    training, _ = shades()
    model = Model.load(embedded("starter"))
    teacher = PackageTeacher(model)
    batches = Batches(training, recipe(), 3, teacher=teacher)
    try:
        item = batches[0]
        told = torch.softmax(item["teacher"], dim=1).numpy()
        chosen = batches.order[:10]
        views = batches._views(chosen, 0, batches.vary, model.package.preprocessing)
        seen = np.stack([view.image for view in views])
        np.testing.assert_allclose(told, model.scores(seen), atol=1e-5)
        assert item["image"].shape[-1] == 32
        assert seen.shape[-1] == teacher.side
    finally:
        batches.close()


def test_a_network_teaches_on_the_students_device():
    training, held = shades()
    teacher = Tiny(seed=4)
    options = recipe(epochs=1, distil=0.5)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    history = loop.train(
        Tiny(), training, held, options, lambda *_: None, lambda _: None,
        teacher=NetworkTeacher(teacher, options.spec),
    )  # fmt: skip
    assert np.isfinite(history[0]["loss"])
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


def test_several_packages_give_their_mean_probabilities_each_at_its_own_size():
    training, _ = shades()
    models = [Model.load(embedded(name)) for name in ("starter", "fast")]
    teacher = PackageTeacher(*models)
    sizes = [model.package.preprocessing.size for model in models]
    assert sizes[0] > sizes[1]
    assert teacher.side == sizes[0]
    batches = Batches(training, recipe(), 3, teacher=teacher)
    try:
        given = torch.softmax(batches[0]["teacher"], dim=1).numpy()
        chosen = batches.order[:10]
        scores = []
        for model in models:
            views = batches._views(chosen, 0, batches.vary, model.package.preprocessing)
            scores.append(model.scores(np.stack([view.image for view in views])))
        np.testing.assert_allclose(given, np.mean(scores, axis=0), atol=1e-5)
        assert np.abs(scores[0] - scores[1]).max() > 1e-3
    finally:
        batches.close()


def test_teacher_and_weight_belong_together():
    given = GivenTeacher(np.zeros((30, 3), np.float32))
    check_teacher(given, 0.5, 30, 3)
    with pytest.raises(SettingError, match="there is no teacher"):
        check_teacher(None, 0.5, 30, 3)
    with pytest.raises(SettingError, match="there is a teacher"):
        check_teacher(given, 0.0, 30, 3)
    with pytest.raises(SettingError, match=r"shape \(30, 3\), but there are 31 training images"):
        check_teacher(given, 0.5, 31, 3)
    with pytest.raises(SettingError, match="there are 4 classes to learn"):
        check_teacher(PackageTeacher(Model.load(embedded("starter"))), 0.5, 30, 4)
