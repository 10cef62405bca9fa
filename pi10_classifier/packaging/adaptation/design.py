"""What the linear head is fitted on: the network's features joined with what was measured.

Features are standardised with the gallery's spread and the source's, which keeps a feature that
hardly varies among few crops from being blown up. The model's own logits count with little penalty,
so few labels correct the model's answer rather than replace it. Measured numbers are standardised
with median and quartiles, the source's with its own, as another camera has other greys and sizes.
All of it is affine in the joined vector, so the head in the graph is one Gemm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.evaluation.metrics import F64, I64
from pi10_classifier.imaging.measured_vector import CLIP, centre_and_scale
from pi10_classifier.packaging.adaptation.features import F32, OwnHead
from pi10_classifier.packaging.adaptation.gallery import Gallery
from pi10_classifier.packaging.adaptation.replay import Replay

OWN = 30.0  # how much larger the model's own logits are than a feature, so less penalised
MEASURED = 3.0  # the same for a measured number
DIRECTIONS = 256  # the most principal directions that are fitted
_LEAST_SEEN = 0.5  # share of the gallery for which a number must be there


@dataclass(frozen=True, slots=True)
class Scale:
    """Centre and scale (M,) of measured numbers; ``columns`` are those that are used."""

    columns: I64
    centre: F32
    scale: F32

    @classmethod
    def of(cls, measured: F32, columns: I64 | None = None) -> Scale:
        """Median and quartile distance; columns that are mostly missing are left out."""
        if columns is None:
            seen = np.isfinite(measured).mean(axis=0) if len(measured) else np.zeros(0)
            columns = np.flatnonzero(seen >= _LEAST_SEEN)
        return cls(columns, *centre_and_scale(measured[:, columns]))

    def apply(self, measured: F32) -> F32:
        """Measured numbers (N, all) -> (N, M): 0 for a missing one, as the graph has it."""
        used = measured[:, self.columns]
        filled = np.where(np.isnan(used), self.centre, used)
        return np.asarray(np.clip((filled - self.centre) / self.scale, -CLIP, CLIP), np.float32)


@dataclass(frozen=True, slots=True)
class Design:
    """Joined vectors (N, D + M) in the directions that a head is fitted in: (N, Q).

    matrix (Q, D + M), offset (Q,). rows: of the gallery (N, V, Q). source: of the source images
    (R, Q), with the place of their classes, ``source_y`` (R,).
    """

    matrix: F64
    offset: F64
    rows: F64
    source: F64
    source_y: I64

    def apply(self, joined: NDArray[Any]) -> F64:
        return np.asarray(joined @ self.matrix.T + self.offset, np.float64)


def joined_rows(gallery: Gallery, scale: Scale | None) -> F32:
    """The vectors that enter the head, of every view: (N, V, D) or with a scale (N, V, D + M)."""
    if scale is None:
        return gallery.x
    measured = scale.apply(gallery.measured)[:, None].repeat(gallery.x.shape[1], axis=1)
    return np.concatenate([gallery.x, measured], axis=2)


def design(
    gallery: Gallery, replay: Replay | None, own: OwnHead | None, scale: Scale | None
) -> Design:
    """The design for the network's features alone (``scale`` None), or joined with measured ones.

    Directions and scales are computed from all crops without their labels.
    """
    joined = joined_rows(gallery, scale)
    n, views, width = joined.shape
    size = gallery.x.shape[2]
    source = np.empty((0, width), np.float32)
    if replay is not None and len(replay.labels):
        parts = [replay.x]
        if scale is not None:
            parts.append(Scale.of(replay.measured, scale.columns).apply(replay.measured))
        source = np.concatenate(parts, axis=1)
    flat = joined.reshape(-1, width).astype(np.float64)
    matrix = np.eye(width)
    variance = flat[:, :size].var(axis=0)
    if len(source) > 1:
        variance = (variance + source[:, :size].var(axis=0)) / 2
    matrix[range(size), range(size)] = 1 / np.sqrt(variance + variance.mean() / 2 + 1e-12)
    matrix[range(size, width), range(size, width)] = MEASURED
    if own is not None:
        logits = np.zeros((own.weight.shape[1], width))
        logits[:, :size] = own.weight.T
        spread = own.logits(gallery.x.reshape(-1, size)).std()
        matrix = np.concatenate([matrix, OWN * logits / (spread + 1e-12)])
    centre = matrix @ flat.mean(axis=0)
    z = np.concatenate([flat, source]) @ matrix.T - centre
    directions = principal(z, DIRECTIONS)
    turned = z @ directions
    place = {label: i for i, label in enumerate(gallery.classes)}
    theirs = replay.labels if replay is not None else ()
    source_y = np.array([place[label] for label in theirs], np.int64)
    return Design(
        directions.T @ matrix,
        -directions.T @ centre,
        turned[: n * views].reshape(n, views, -1),
        turned[n * views :],
        source_y,
    )  # fmt: skip


def principal(z: F64, most: int) -> F64:
    """At most ``most`` directions (D, Q), orthonormal, that hold the most of z (N, D)."""
    few = min(most, *z.shape)
    if len(z) <= z.shape[1]:  # the smaller of the two products has the same eigenvalues
        values, vectors = np.linalg.eigh(z @ z.T)
        kept = np.flatnonzero(values > values[-1] * 1e-10)[-few:]
        return np.asarray(z.T @ vectors[:, kept] / np.sqrt(values[kept]))
    values, vectors = np.linalg.eigh(z.T @ z)
    kept = np.flatnonzero(values > values[-1] * 1e-10)[-few:]
    return np.asarray(vectors[:, kept])
