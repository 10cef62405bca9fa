"""The checkpoint and the model package of a pretraining.

A package needs classes, and a pretraining has none. So its last layer sorts into clusters of the
features, by k-means: the nearest centre c has the largest logit x c - |c|² / 2. `pi10 adapt` cuts
it off, and `pi10 train` begins a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from pi10_classifier.errors import ModelError, output_error
from pi10_classifier.model.package import format_of
from pi10_classifier.model.writer import write_package
from pi10_classifier.training.checkpoint import save_checkpoint
from pi10_classifier.training.data.batches import plain
from pi10_classifier.training.loop.loop import predict
from pi10_classifier.training.networks.base import Network
from pi10_classifier.training.onnx_export import (
    PARITY_IMAGES,
    TOLERANCE,
    check_parity,
    write_onnx,
)
from pi10_classifier.training.pretraining.particles import Particle
from pi10_classifier.training.recipe import Recipe

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

FIELD = "pretraining"
CLUSTERS = 16
CLUSTER_NAMES = tuple(f"cluster-{i:02d}" for i in range(1, CLUSTERS + 1))
_CLUSTERED, _PARITY = 4000, 256  # images at most
_COOLEST, _HOTTEST = 0.01, 100.0  # temperatures that a package may have
_NEVER_SEEN = "Labels of any kind, and images of other cameras, seas and seasons than those drawn."


def prepared(particles: Sequence[Particle], recipe: Recipe, most: int) -> U8:
    """Images as in service, (N, C, S, S) uint8, of at most ``most`` particles."""
    rng = np.random.default_rng(0)  # not used by ``plain``
    return np.stack([plain(p.image, rng, recipe.spec).image for p in particles[:most]])


def with_clusters(network: Network, images: U8, seed: int) -> float:
    """Make ``network``'s last layer sort into clusters of ``images``; return the temperature.

    It is the mean squared distance from the nearest centre, so that an image at this distance from
    its own centre, and twice as far from another, goes to its own with odds of e^1.5. Raises
    ModelError if features are not numbers.
    """
    features = predict(network, images, output="features")
    if not np.isfinite(features).all():
        raise ModelError("some features are not numbers; pretrain again with a lower --rate")
    head = last_layer(network)
    found = KMeans(head.out_features, n_init=4, random_state=seed).fit(features)
    centres = torch.from_numpy(np.asarray(found.cluster_centers_, np.float32))
    with torch.no_grad():
        # what all centres share changes no order, and would only cost precision
        head.weight.copy_(centres - centres.mean(0))
        bias = -centres.square().sum(1) / 2
        head.bias.copy_(bias - bias.mean())
    return float(np.clip(float(found.inertia_) / len(features), _COOLEST, _HOTTEST))


def last_layer(network: Network) -> torch.nn.Linear:
    """The network's last linear layer."""
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return layers[-1]


def write(
    network: Network,
    particles: Sequence[Particle],
    recipe: Recipe,
    fields: Mapping[str, Any],
    checkpoint: Path,
    package: Path,
) -> None:
    """Write the checkpoint folder and the package. fields: name, architecture and ``FIELD``."""
    network = network.cpu().eval()
    images = prepared(particles, recipe, _CLUSTERED)
    temperature = with_clusters(network, images, recipe.seed)
    spec, tested = recipe.spec, images[:_PARITY]
    described = {
        "format": format_of(spec),
        "version": "1",
        "classes": list(CLUSTER_NAMES),
        "preprocessing": spec.to_dict(),
        "temperature": temperature,
        "thresholds": {},
        "training": {},
        "metrics": {},
        "never_seen": _NEVER_SEEN,
        **fields,
    }
    save_checkpoint(checkpoint, network, {**described, "head": "linear"})
    beside = checkpoint / "model.onnx.part"
    try:
        np.save(checkpoint / PARITY_IMAGES, tested)
        write_onnx(network, spec, beside)
        gap = check_parity(network, beside, tested, temperature)
        graph = beside.read_bytes()
    except OSError as error:
        raise output_error(error, checkpoint) from error
    finally:
        beside.unlink(missing_ok=True)
    described |= {
        "input": {"name": "image", "dtype": "uint8", "layout": "NCHW"},
        "output": {"name": "logits", "activation": "softmax"},
        "parity": {
            "images": len(tested),
            "largest_difference": float(f"{gap:.2e}"),
            "allowed": TOLERANCE,
        },
    }
    write_package(package, graph, described, section(described))


def section(fields: Mapping[str, Any]) -> str:
    """What the model card says of the pretraining."""
    told = fields[FIELD]
    images, last = told["images"], told["history"][-1]
    beside = ""
    if told.get("encoder"):
        beside = (
            f", beside their profiles ({told['profiles']}: {', '.join(told['channels'])}; encoder"
            f" {told['encoder']})"
        )
    matched = f", {last['matched']:.1%} matched" if "matched" in last else ""
    return f"""## Pretrained without labels

Method {told["method"]} on {images["used"]:,} of {images["found"]:,} images{beside}:\
 {len(told["history"])} epochs, {told["minutes"]} minutes at {told["recipe"]["size"]} px, batches\
 of {told["recipe"]["batch"]}, rate {told["recipe"]["rate"]}, seed {told["recipe"]["seed"]}.\
 Initial weights: {told["initial_weights"]["origin"]}. Last epoch: loss {last["loss"]:.4f},\
 spread of the embeddings {last["spread"]:.2f}{matched}.

The classes are clusters of the features of {min(images["used"], _CLUSTERED):,} of these images by\
 k-means. **They are no taxa**, and one cluster may hold several. The package is meant for\
 `pi10 adapt` with labels of your own, and the weights for `pi10 train --init`.

## Limits

- Never seen: {fields["never_seen"]}
- How good the features are for your classes only labels can tell: adapt, and evaluate.

## To train it again

```
{told["command"]}
```
"""
