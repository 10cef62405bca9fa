"""Which way of quantising a model changes its answers least, and which layers suffer most.

All is measured against the float graph's answers on training images, without labels, so that the
held-out images of the gate choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.foundation.concurrency import ordered_map, usable_cores
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.model.package import Package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.quantiser import Quantiser

F32 = NDArray[np.float32]
_TINY = 1e-7


@dataclass(frozen=True, slots=True)
class Probe:
    """Prepared images (N, C, S, S) uint8 with the float graph's scores (N, K) of them.

    measured: what was measured of them, (N, M), for a package that takes it.
    """

    package: Package
    images: U8
    scores: F32
    measured: F32 | None = None

    @classmethod
    def of(cls, model: Model, images: U8, measured: F32 | None = None) -> Probe:
        """With the scores of ``model``."""
        return cls(model.package, images, _scores(model, images, measured), measured)

    def divergence(self, graph: bytes) -> float:
        """Mean Kullback-Leibler divergence of a graph's scores from the float graph's, nats."""
        told = _scores(Model(self.package, graph), self.images, self.measured)
        logs = (np.log(np.maximum(x.astype(np.float64), _TINY)) for x in (self.scores, told))
        first, second = logs
        return float((self.scores * (first - second)).sum(axis=1).mean())


def _scores(model: Model, images: U8, measured: F32 | None) -> F32:
    batch = model.runtime.batch

    def ask(begin: int) -> F32:
        part = slice(begin, begin + batch)
        return model.scores(images[part], None if measured is None else measured[part])

    parts = ordered_map(ask, range(0, len(images), batch), usable_cores(), 2)
    return np.concatenate(list(parts))


def best_method(
    quantiser: Quantiser, probe: Probe, methods: Sequence[str], weight_bits: int
) -> tuple[str, dict[str, float]]:
    """The method with the lowest divergence, and the divergence of each."""
    told = {name: probe.divergence(quantiser.graph(name, weight_bits)) for name in methods}
    return min(told, key=lambda name: told[name]), told


def worst_layers(
    quantiser: Quantiser,
    probe: Probe,
    method: str,
    weight_bits: int,
    most: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[tuple[str, float]]:
    """Layers to leave in float, the worst first, with the divergence that is left after each.

    Each layer is left in float alone; then the best of them together, as long as the divergence
    falls (greedily, in the order of the first round), at most ``most``.
    """
    if most <= 0:
        return []
    least = probe.divergence(quantiser.graph(method, weight_bits))
    alone = {}
    for number, layer in enumerate(quantiser.layers):
        alone[layer] = probe.divergence(quantiser.graph(method, weight_bits, [layer]))
        progress(number + 1, len(quantiser.layers))
    chosen: list[tuple[str, float]] = []
    for layer in sorted(alone, key=lambda name: alone[name]):
        if len(chosen) == most:
            break
        names = [name for name, _ in chosen]
        if len(names) + 1 == len(quantiser.layers):
            break  # nothing would be left in int8
        left = probe.divergence(quantiser.graph(method, weight_bits, [*names, layer]))
        if left < least:
            chosen.append((layer, left))
            least = left
    return chosen
