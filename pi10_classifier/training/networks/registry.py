"""Builds the networks for training by name; each takes uint8 images and normalises them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.training.networks.base import Logits, Network, Output
from pi10_classifier.training.networks.efficientnet import (
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from pi10_classifier.training.networks.from_package import load_package
from pi10_classifier.training.networks.head_rows import HeadRows
from pi10_classifier.training.networks.huggingface import (
    ResNetNetwork,
    TransformerNetwork,
    check_size,
)
from pi10_classifier.training.networks.mobilenets import MobileNetV2, MobileNetV4ConvSmall
from pi10_classifier.training.networks.pretrained import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE1,
    EFFICIENTNET_LITE2,
    MOBILENET_V2,
    HubWeights,
    PipWeights,
    load_folder,
    load_hub,
    load_pip,
)

__all__ = ["ARCHITECTURES", "Logits", "Network", "Output", "build", "origin"]

INITS = ("pretrained", "random")


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build a network, and where its pretrained weights are.

    kind: "vit", "beit" or "resnet" of transformers, configured by ``options``, or "own" with its
    class in ``make``. patch: the input size must be a multiple of it.
    """

    kind: str
    weights: HubWeights | PipWeights
    options: dict[str, Any] = field(default_factory=dict)
    make: Callable[..., Network] | None = None
    patch: int = 1


def _vit(name: str, width: int, heads: int) -> Architecture:
    shape = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": 12,
        "intermediate_size": 4 * width,
        "patch_size": 16,
    }
    return Architecture("vit", HubWeights(name), shape, patch=16)


def _resnet(
    name: str, layer: str, widths: tuple[int, ...], depths: tuple[int, ...]
) -> Architecture:
    shape = {"layer_type": layer, "hidden_sizes": widths, "depths": depths}
    return Architecture("resnet", HubWeights(name), shape)


# The configuration of the fine-tuned BEiT: a bias table in each layer, no absolute positions.
_BEIT = {"use_relative_position_bias": True, "patch_size": 16}

ARCHITECTURES: dict[str, Architecture] = {
    "vit": _vit("google/vit-base-patch16-224", 768, 12),
    "vit_small": _vit("WinKawaks/vit-small-patch16-224", 384, 6),
    "vit_tiny": _vit("WinKawaks/vit-tiny-patch16-224", 192, 3),
    "beit": Architecture(
        "beit", HubWeights("microsoft/beit-base-patch16-224-pt22k-ft22k"), _BEIT, patch=16
    ),
    "resnet18": _resnet("microsoft/resnet-18", "basic", (64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet50": _resnet("microsoft/resnet-50", "bottleneck", (256, 512, 1024, 2048), (3, 4, 6, 3)),
    "mobilenet_v2": Architecture("own", MOBILENET_V2, make=MobileNetV2),
    "mobilenetv4_conv_small": Architecture(
        "own",
        HubWeights("timm/mobilenetv4_conv_small.e2400_r224_in1k", "model.safetensors"),
        make=MobileNetV4ConvSmall,
    ),
    "efficientnet_lite0": Architecture("own", EFFICIENTNET_LITE0, make=EfficientNetLite0),
    "efficientnet_lite1": Architecture("own", EFFICIENTNET_LITE1, make=EfficientNetLite1),
    "efficientnet_lite2": Architecture("own", EFFICIENTNET_LITE2, make=EfficientNetLite2),
}


def build(
    architecture: str,
    classes: int,
    *,
    size: int,
    channels: int,
    init: str = "pretrained",
    weights: Path | None = None,
    attention: bool = False,
    head: str = "linear",
    rows: HeadRows | None = None,
) -> Network:
    """Build a network by name: uint8 (N, channels, size, size) -> ``classes`` logits.

    init: "pretrained" (from ``weights``, a local folder of safetensors or a model package, else
    from the pip package or the hub) or "random". Convolutional networks also work with images of
    other sizes, ViT and BEiT with multiples of their patch. attention: return that of the last
    block (ViT and BEiT only). head: "linear", or "cosine" for LDAM. rows: of the
    head that begin with weights of the folder; None if its head tells the same.
    Raises SettingError if a name or value is unusable, or if the weights are not available.
    """
    known = _architecture(architecture)
    if init not in INITS:
        raise SettingError(f"init is {init!r}; it must be one of {', '.join(INITS)}")
    if classes < 2:
        raise SettingError(f"there are {classes} classes; a classifier needs two or more")
    if attention and known.kind not in ("vit", "beit"):
        raise SettingError(
            f"{architecture} has no attention; dynamic LAS needs vit, vit_small, vit_tiny or beit"
        )
    if known.patch > 1:
        check_size(size, known.patch)
    network = _make(known, classes, size, channels, attention, head)
    if init == "random":
        if weights is not None:
            raise SettingError(f"--init random and the weights of {weights} exclude each other")
    elif weights is not None and (weights / "model.json").is_file():
        load_package(network, weights, rows)
    elif weights is not None:
        load_folder(network, weights, rows)
    elif isinstance(known.weights, PipWeights):
        load_pip(network, known.weights)
    else:
        load_hub(network, known.weights)
    return network


def origin(architecture: str, init: str, weights: Path | None = None) -> dict[str, str]:
    """The origin of the initial weights, for the description of a model."""
    known = _architecture(architecture)
    if init == "random":
        return {"origin": "random"}
    if weights is not None:
        return {"origin": str(weights)}
    if isinstance(known.weights, PipWeights):
        source = known.weights
        return {
            "package": source.package,
            "file": source.file.rpartition("/")[2],
            "origin": source.origin,
            "licence": source.licence,
        }
    return {"origin": f"https://huggingface.co/{known.weights.name}"}


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise SettingError(f"unknown network {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _make(
    known: Architecture, classes: int, size: int, channels: int, attention: bool, head: str
) -> Network:
    if known.make is not None:
        return known.make(classes, channels, head=head)
    try:
        from transformers import BeitConfig, ResNetConfig, ViTConfig
    except ImportError as error:
        raise SettingError(
            f"this network needs transformers ({error}); {install_command('train')}"
        ) from error
    options = {**known.options, "num_channels": channels}
    if known.kind == "resnet":
        return ResNetNetwork(ResNetConfig(**options), classes, head=head)
    config = {"vit": ViTConfig, "beit": BeitConfig}[known.kind](**options, image_size=size)
    return TransformerNetwork(config, classes, attention=attention, head=head)
