"""A package's graph turned into the network it came from."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.training.networks.from_package import load_package, settle
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.onnx_export import write_onnx

SIZE = read_package(embedded("fast"))[0].preprocessing.size


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(5)
    images = np.full((12, 1, SIZE, SIZE), 240, np.uint8)
    for image in images:
        top, left = rng.integers(4, 24, 2)
        image[0, top : top + 24, left : left + 30] = rng.integers(0, 200, (24, 30))
    return images


def fast(classes=3, **options):
    given = {"size": SIZE, "channels": 1, "init": "random"} | options
    return build("mobilenet_v2", classes, **given)


def answers(network, images):
    network.eval()
    with torch.no_grad():
        return network(torch.from_numpy(images)).logits.numpy()


def test_the_network_answers_as_the_package_before_and_after_its_norms_have_settled(pictures):
    model = Model.load(embedded("fast"))
    network = fast(len(model.package.groups.names), init="pretrained", weights=embedded("fast"))
    wanted = model.answer(pictures).groups
    for _ in range(3):  # unsettled, settled, and settled twice
        np.testing.assert_allclose(answers(network, pictures), wanted, atol=1e-3)
        settle(network, [torch.from_numpy(pictures)])


def test_settled_norms_have_the_images_statistics(pictures):
    network = fast(init="pretrained", weights=embedded("fast"))
    images = torch.from_numpy(pictures)
    settle(network, [images[:5], images[5:]])
    before = answers(network, pictures)
    network.train()
    network.classifier[0].eval()  # dropout
    with torch.no_grad():
        trained = network(images).logits.numpy()
    np.testing.assert_allclose(trained, before, atol=0.05)


def test_another_number_of_classes_keeps_the_trunk(pictures):
    network, whole = fast(5), fast()
    load_package(network, embedded("fast"))
    load_package(whole, embedded("fast"))
    assert answers(network, pictures).shape == (12, 5)
    ours, theirs = (
        x.eval().features(x.normalise(torch.from_numpy(pictures))) for x in (network, whole)
    )
    torch.testing.assert_close(ours, theirs)


def test_it_can_be_exported_again(pictures, tmp_path):
    import onnxruntime as ort

    network = fast(init="pretrained", weights=embedded("fast"))
    settle(network, [torch.from_numpy(pictures)])
    write_onnx(network, Model.load(embedded("fast")).package.preprocessing, tmp_path / "again.onnx")
    session = ort.InferenceSession(tmp_path / "again.onnx", providers=["CPUExecutionProvider"])
    (again,) = session.run(None, {"image": pictures})
    np.testing.assert_allclose(again, answers(network, pictures), atol=1e-3)


def test_packages_of_other_networks_are_refused():
    with pytest.raises(
        SettingError, match=r"fast does not fit MobileNetV4ConvSmall: its graph has 53"
    ):
        load_package(build("mobilenetv4_conv_small", 3, size=64, channels=1, init="random"),
                     embedded("fast"))  # fmt: skip
    with pytest.raises(
        SettingError, match=r"its layer 1 is \[32, 1, 3, 3\], but the network's is \[32, 3"
    ):
        load_package(fast(channels=3), embedded("fast"))
