"""The options of a training that command line and API share."""

from __future__ import annotations

from collections.abc import Mapping

from pi10_classifier.training.losses.registry import LOSSES

OPTIONS: Mapping[str, tuple[str, str]] = {
    "recipe": (
        "small",
        "Recipe: vit, beit, resnet18, resnet50, vit_small, vit_tiny, mobilenet_v2 (small), "
        "mobilenetv4_conv_small, efficientnet_lite0 (1, 2), or a TOML file.",
    ),
    "network": ("", "Network to train with that recipe, if not the recipe's own."),
    "loss": ("", f"Loss: {', '.join(list(LOSSES)[:-1])} or {list(LOSSES)[-1]}."),
    "seeds": ("0", "Random seeds, e.g. 1,2,3; one training per seed."),
    "init": (
        "pretrained",
        "Initial weights: pretrained, random, a folder with safetensors, or a model package: its "
        "folder, starter or fast.",
    ),
    "teacher": ("", "Model package to distil from, besides learning from the labels."),
    "name": ("", "Name of the model package."),
    "split_seed": ("0", "Random seed of the split; another seed gives another split."),
    "device": ("", "Device to train on; cpu ignores a GPU."),
    "experiment": ("", "MLflow experiment."),
    "register": (
        "",
        "Registered MLflow model to add the best package to as a version; the version gets the "
        "alias candidate if it is better than the one that has it.",
    ),
}
"""Name -> default as text, and meaning."""
