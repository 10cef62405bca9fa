"""Finds groups of images of the same particle, which must share a split.

Exact duplicates have the same SHA-256. Near duplicates (a re-encoded, rescaled or slightly
shifted copy, or a particle stuck in front of the lens in successive frames) pass three tests,
the cheapest first:

1. perceptual hashes (64 signs of a discrete cosine transform) at most ``MAX_DISTANCE``
   bits apart, at aspect ratios within ``MAX_STRETCH``;
2. grey 32 x 32 px thumbnails whose correlation is at least ``MIN_CORRELATION``;
3. the correlation of the thumbnails' detail (minus a blurred copy) is at least ``MIN_DETAIL``.

The hash alone would join most of a data set, because small particles look like similar blots.
The thumbnails alone would join too many as well: among 32,954 images of PlanktonSet 1.0 and
PWSSC (no exact duplicates), a correlation of 0.95 joins 4,188 images, 1,504 of them in one group;
0.98 still joins 148 different ones. The detail separates them. Pairs beyond 0.98 were inspected
by eye: those with a detail correlation above 0.85 show one particle, stuck or in the next frame;
those below 0.80 show two particles of the same shape. At 0.85 there are 42 groups of 99 images,
the largest of 4. Discs such as bubbles have no detail, so in a group of more than ``MAX_GROUP``
the limits are stricter. A missed pair makes results slightly too good; a wrong pair only moves a
few images together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

SIDE = 32
MAX_DISTANCE = 10
MAX_STRETCH = 1.1
MIN_CORRELATION = 0.98
MIN_DETAIL = 0.85
MAX_GROUP = 50
_DETAIL_SIGMA = 1.5  # px of the thumbnail: finer than a blot, coarser than noise
_TIGHTER = (0.5, 0.75, 0.9)  # stricter limits, as shares of the way from the usual ones to 1
_BLOCK = 512
_PAIRS_TOGETHER = 8192


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprint of an image: size in px, hash, and grey thumbnail (32, 32) uint8."""

    width: int
    height: int
    hash: int
    thumbnail: U8


def fingerprint(rgb: U8) -> Fingerprint:
    """Hash an RGB image (H, W, 3) uint8, and shrink it to a square thumbnail.

    Each bit of the hash says whether one of the 8 x 8 lowest frequencies is above their median
    (Zauner 2010, "pHash"). The mean grey level is not part of it.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    low = np.asarray(cv2.dct(small.astype(np.float32)))[:8, :8].ravel()
    signs = low > np.median(low[1:])
    signs[0] = False
    bits = int.from_bytes(np.packbits(signs).tobytes(), "big")
    return Fingerprint(rgb.shape[1], rgb.shape[0], bits, small)


def contradictions(sha256: Sequence[str], groups: Sequence[str]) -> dict[int, int]:
    """Indices of images whose bytes have two classes -> index of one with another class."""
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for place, (digest, group) in enumerate(zip(sha256, groups, strict=True)):
        earlier = first.setdefault(digest, place)
        if groups[earlier] != group:
            second.setdefault(digest, place)
    pairs = {}
    for place, digest in enumerate(sha256):
        if digest in second:
            same = groups[place] == groups[first[digest]]
            pairs[place] = second[digest] if same else first[digest]
    return pairs


def clusters(sha256: Sequence[str], fingerprints: Sequence[Fingerprint]) -> list[str]:
    """A cluster name for each image: the same for duplicates, "" for an image without any.

    The name is the beginning of the group's smallest hash, so it does not depend on the order.
    """
    different = {digest: place for place, digest in enumerate(sha256)}
    digests = sorted(different)
    pairs, closeness = near_pairs([fingerprints[different[digest]] for digest in digests])
    component = _components(len(digests), pairs)
    for limit in _TIGHTER:
        crowded = np.bincount(component, minlength=1)[component] > MAX_GROUP
        if not crowded.any():
            break
        near = ~crowded[pairs[:, 0]] | (closeness >= limit)
        pairs, closeness = pairs[near], closeness[near]
        component = _components(len(digests), pairs)
    member = dict(zip(digests, component.tolist(), strict=True))
    sizes = Counter(member[digest] for digest in sha256)
    names: dict[int, str] = {}
    for digest in digests:
        names.setdefault(member[digest], digest[:16])
    return [names[member[x]] if sizes[member[x]] > 1 else "" for x in sha256]


def _components(count: int, pairs: I64) -> I64:
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    labels = connected_components(graph, directed=False)[1] if count else np.empty(0)
    return np.asarray(labels, np.int64)


def near_pairs(fingerprints: Sequence[Fingerprint]) -> tuple[I64, F32]:
    """All pairs of near duplicates (M, 2), as indices, each once, and their closeness (M,).

    The closeness is the lesser of the two correlations, scaled from 0 at its limit to 1.
    Blocks of images of similar aspect ratio are compared: for N images about N^2 / 5 bit counts,
    all in NumPy. Memory does not grow with the number of pairs.
    """
    pairs, closeness = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    aspect = np.log([x.width / x.height for x in fingerprints])
    order = np.argsort(aspect, kind="stable")
    hashes = np.array([fingerprints[i].hash for i in order], np.uint64)
    thumbnails = [fingerprints[i].thumbnail for i in order]
    for some in _candidates(hashes, aspect[order]):
        one, other = (np.stack([thumbnails[i] for i in some[:, k]]) for k in (0, 1))
        near = _correlation(one.astype(np.float32), other.astype(np.float32)) >= MIN_CORRELATION
        one, other, some = one[near], other[near], some[near]
        whole = _correlation(one.astype(np.float32), other.astype(np.float32))
        detail = _correlation(_detail(one), _detail(other))
        near = detail >= MIN_DETAIL
        slack = ((whole - MIN_CORRELATION) / (1 - MIN_CORRELATION),
                 (detail - MIN_DETAIL) / (1 - MIN_DETAIL))  # fmt: skip
        pairs.append(order[some[near]])
        closeness.append(np.minimum(*slack)[near])
    return np.concatenate(pairs), np.concatenate(closeness)


def _candidates(hashes: U64, aspect: NDArray[np.float64]) -> Iterator[I64]:
    """Pairs (M, 2) with similar hash and aspect ratio, in portions. ``aspect`` must ascend."""
    ends = np.searchsorted(aspect, aspect + np.log(MAX_STRETCH), side="right")
    for start in range(0, len(hashes), _BLOCK):
        stop = min(start + _BLOCK, len(hashes))
        for column in range(start, int(ends[stop - 1]), 16 * _BLOCK):
            last = min(column + 16 * _BLOCK, int(ends[stop - 1]))
            apart = np.bitwise_count(hashes[start:stop, None] ^ hashes[None, column:last])
            rows, columns = np.nonzero(apart <= MAX_DISTANCE)
            rows, columns = rows + start, columns + column
            near = (columns > rows) & (columns < ends[rows])
            pairs = np.stack((rows[near], columns[near]), axis=1)
            for first in range(0, len(pairs), _PAIRS_TOGETHER):
                yield pairs[first : first + _PAIRS_TOGETHER]


def _detail(images: U8) -> F32:
    """Images (M, S, S) minus their blurred copies."""
    detail = images.astype(np.float32)
    for image in detail:
        image -= cv2.GaussianBlur(image, (0, 0), _DETAIL_SIGMA, borderType=cv2.BORDER_REPLICATE)
    return detail


def _correlation(one: F32, other: F32) -> F32:
    """Correlation (M,) of images (M, S, S), pair by pair.

    It is 0 if either image is uniform, so blank images are not duplicates.
    """
    one, other = (x.reshape(len(x), SIDE * SIDE) for x in (one, other))
    one, other = (x - x.mean(axis=1, keepdims=True) for x in (one, other))
    dot = np.einsum("ij,ij->i", one, other)
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.divide(dot, length, where=length > 0, out=np.zeros_like(dot)), np.float32)
