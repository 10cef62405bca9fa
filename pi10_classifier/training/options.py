"""Options of a training that the command line and the API share: one table of both."""

from __future__ import annotations

from collections.abc import Mapping

from pi10_classifier.training.losses.registry import LOSSES

OPTIONS: Mapping[str, tuple[str, str]] = {
    "recipe": (
        "small",
        "vit, beit, resnet18, resnet50, vit_small, vit_tiny, mobilenet_v2 (small), "
        "mobilenetv4_conv_small, efficientnet_lite0, or a TOML file.",
    ),
    "network": ("", "Another network with that recipe."),
    "loss": ("", f"{', '.join(list(LOSSES)[:-1])} or {list(LOSSES)[-1]}."),
    "seeds": ("0", "Seeds, e.g. 1,2,3."),
    "init": (
        "pretrained",
        "pretrained, random, a folder of safetensors, or a model package: its folder, or starter "
        "or fast.",
    ),
    "teacher": ("", "Learn from a model package too."),
    "name": ("", "Of the model package."),
    "split_seed": ("0", "Another seed, another split."),
    "device": ("", "cpu, to leave a GPU alone."),
    "experiment": ("", "Of MLflow."),
    "register": (
        "",
        "Make the best package a version of this model; alias candidate, where it is better.",
    ),
}
"""What is asked of a training by the command line and the API: default (as text) and meaning."""
