"""The space of features: directions of particles, and a map of two dimensions.

Features are brought to length 1 and to their principal components, and to length 1 again: how
alike two particles are is the cosine of their angle there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command

COMPONENTS = 32
PCA, UMAP = "pca", "umap"
NEIGHBOURS = 15  # that UMAP looks at of each particle
_LEAST = 3  # particles; fewer have no plane
_BLOCK = 4_096

F32 = NDArray[np.float32]


def directions(features: NDArray[Any], components: int = COMPONENTS) -> F32:
    """Features (N, D) -> float32 (N, K) of length 1, K being at most ``components``."""
    x = _principal(features, components)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def _principal(features: NDArray[Any], components: int) -> F32:
    x = np.asarray(features, np.float32)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    x = x - x.mean(axis=0)
    # of D x D, summed by blocks, so that memory does not grow with the particles
    products = np.zeros((x.shape[1], x.shape[1]))
    for first in range(0, len(x), _BLOCK):
        block = x[first : first + _BLOCK].astype(np.float64)
        products += block.T @ block
    values, vectors = np.linalg.eigh(products)
    basis = vectors[:, np.argsort(-values)[: min(components, len(x))]]
    # a direction and its opposite are the same component: one of the two, on every machine
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    return np.asarray(x @ (basis * signs), np.float32)


def plane(features: NDArray[Any], how: str = PCA, *, seed: int = 0) -> F32:
    """Places on a map, float32 (N, 2), from -1 to 1.

    how: ``pca`` (the first two principal components) or ``umap`` (McInnes et al. 2018, of the
    directions; needs the extra [umap], and more than ``NEIGHBOURS`` particles). Raises
    SettingError for fewer particles (three for ``pca``), and where UMAP is not installed.
    """
    least = NEIGHBOURS + 1 if how == UMAP else _LEAST
    if len(features) < least:
        raise SettingError(f"{len(features)} particles make no map; it takes {least}")
    places = _umap(directions(features), seed) if how == UMAP else _principal(features, 2)
    # the middle 99 % fill the map; the few beyond stand at its edge
    low, high = np.quantile(places, [0.005, 0.995], axis=0)
    span = max(float((high - low).max()), 1e-9)
    return np.asarray(np.clip(2 * (places - (low + high) / 2) / span, -1, 1), np.float32)


def _umap(x: F32, seed: int) -> F32:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap
    except ImportError as error:
        raise SettingError(
            f"a UMAP map needs umap-learn ({error}); run: {install_command('umap')}, or leave"
            " --map umap out"
        ) from error
    # from the principal components on; UMAP divides by the extent of each axis, which may be 0
    first = _principal(x, 2)
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=first.shape)
    start = np.asarray(first / max(float(np.abs(first).max()), 1e-9) + noise, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that a seed means one thread
        fitted = umap.UMAP(n_neighbors=NEIGHBOURS, metric="cosine", random_state=seed, init=start)
        return np.asarray(fitted.fit_transform(x), np.float32)
