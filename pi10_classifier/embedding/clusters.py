"""Dense groups of particles alike, as seeds to sort by, and what is nearest to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.embedding.space import F32
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command

LEAST = 5  # particles of a cluster
_SHARE = 500  # one in so many particles makes a cluster
_CORE = 3  # neighbours that density is told by

I64 = NDArray[np.int64]


def least_of(particles: int) -> int:
    """The least size of a cluster among so many particles, where none is given."""
    return max(LEAST, round(particles / _SHARE))


def seeds(x: F32, least: int) -> list[I64]:
    """Dense clusters of directions (N, K): rows of each, the middle first; the largest first.

    HDBSCAN (Campello, Moulavi and Sander 2013, doi:10.1007/978-3-642-37456-2_14), the leaves of
    its tree, which are small and of one kind, as in MorphoCluster (Schröder et al. 2020,
    doi:10.3390/s20113060). What is in no cluster is left out. Raises SettingError where
    scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import HDBSCAN
    except ImportError as error:
        raise SettingError(
            f"clusters need scikit-learn ({error}); run: {install_command('sort')}"
        ) from error
    if len(x) < max(2 * least, _CORE + 1):
        return []
    of = HDBSCAN(
        min_cluster_size=least, min_samples=min(_CORE, least), cluster_selection_method="leaf",
        copy=True,
    ).fit_predict(x)  # fmt: skip
    clusters = []
    for number in range(int(of.max()) + 1):
        rows = np.flatnonzero(of == number)
        clusters.append(rows[np.argsort(-(x[rows] @ x[rows].mean(axis=0)), kind="stable")])
    return sorted(clusters, key=lambda rows: (-len(rows), int(rows[0])))


def nearest(x: F32, cluster: I64, others: I64, most: int) -> I64:
    """Those of ``others`` most like a cluster, the nearest first: by the cosine to its middle."""
    alike = x[others] @ x[cluster].mean(axis=0)
    return np.asarray(others[np.argsort(-alike, kind="stable")[:most]], np.int64)
