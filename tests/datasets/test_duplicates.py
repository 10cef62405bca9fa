from collections import Counter

import cv2
import numpy as np
import pytest

from pi10_classifier.datasets import duplicates
from pi10_classifier.datasets.duplicates import (
    MAX_GROUP,
    clusters,
    contradictions,
    fingerprint,
    near_pairs,
)


def particle(seed: int, side: int = 90) -> np.ndarray:
    """A textured particle on a light ground, RGB."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 200, (9, 9), np.uint8), (side, side - 6))
    mask = np.zeros(texture.shape, np.uint8)
    axes = (int(side * rng.uniform(0.2, 0.4)), int(side * rng.uniform(0.15, 0.35)))
    cv2.ellipse(mask, (side // 2, side // 2), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    grey = np.where(mask > 0, texture, 240).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def blot(seed: int, lobes: int = 3) -> np.ndarray:
    """A small, blurred, featureless spot: different particles, near-equal thumbnails."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(36, 42))
    image = np.full((side, side), 245, np.uint8)
    shade = int(rng.integers(40, 90))
    cv2.circle(image, (side // 2, side // 2), side // 4, shade, -1)
    for angle in rng.uniform(0, 2 * np.pi, lobes):
        reach = side / 4 * np.array([np.cos(angle), np.sin(angle)]) + side / 2
        cv2.circle(image, (int(reach[0]), int(reach[1])), side // 12, shade, -1)
    image = cv2.GaussianBlur(image, (0, 0), 2.5).astype(np.int64)
    image += rng.normal(0, 3, image.shape).astype(np.int64)
    return cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def encoded(image: np.ndarray, quality: int) -> np.ndarray:
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR)


CHANGES = {
    "encoded again": lambda x: encoded(x, 60),
    "half the size": lambda x: cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "darker": lambda x: (x * 0.8).astype(np.uint8),
    "cropped by a pixel": lambda x: x[1:, :-1],
    "noisy": lambda x: np.clip(
        x + np.random.default_rng(0).normal(0, 4, x.shape), 0, 255
    ).astype(np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_are_found_among_others(change):
    images = [particle(seed) for seed in range(40)]
    images += [change(images[7]), change(images[21])]
    pairs, closeness = near_pairs([fingerprint(image) for image in images])
    assert sorted(map(sorted, pairs.tolist())) == [[7, 40], [21, 41]]
    assert ((closeness >= 0) & (closeness <= 1.0001)).all()


def test_detail_tells_particles_of_one_shape_apart():
    fingerprints = [fingerprint(blot(seed)) for seed in range(120)]
    everything = np.array([x.thumbnail for x in fingerprints]).reshape(120, -1).astype(np.float64)
    pairs = np.corrcoef(everything)[np.triu_indices(120, 1)]
    assert (pairs >= duplicates.MIN_CORRELATION).mean() > 0.1, "the thumbnails alone do not"
    assert len(near_pairs(fingerprints)[0]) < 0.005 * len(pairs)


def test_discs_without_features_do_not_make_one_large_group():
    fingerprints = [fingerprint(blot(seed, lobes=0)) for seed in range(200)]
    copies = [fingerprint(particle(1))] * 70
    assert len(near_pairs(fingerprints)[0]) > 1000
    names = clusters([f"{i:03d}" for i in range(270)], fingerprints + copies)
    sizes = Counter(names)
    assert sizes[names[-1]] == 70, "copies stay together, however many"
    assert max(sizes[name] for name in names[:200] if name) <= MAX_GROUP


def test_blank_images_are_not_alike():
    fingerprints = [
        fingerprint(np.full((40, 40, 3), level, np.uint8)) for level in (0, 100, 100, 255)
    ]
    assert len(near_pairs(fingerprints)[0]) == 0


def test_stretched_image_is_another():
    image = particle(3)
    fingerprints = [fingerprint(image), fingerprint(cv2.resize(image, (120, 84)))]
    assert len(near_pairs(fingerprints)[0]) == 0


def test_pairs_are_those_of_the_plain_definition(monkeypatch):
    """Blocks and portions, cut small, give what comparing each pair with each other gives."""
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    monkeypatch.setattr(duplicates, "_PAIRS_TOGETHER", 3)
    images = [particle(seed // 3, 60 + 8 * (seed % 5)) for seed in range(36)]
    fingerprints = [fingerprint(encoded(x, 70 + i % 20)) for i, x in enumerate(images)]
    assert len({x.width for x in fingerprints}) == 5

    def alike(one, other):
        ratio = (one.width / one.height) / (other.width / other.height)
        bits = (one.hash ^ other.hash).bit_count()
        plain = [x.thumbnail.astype(np.float64) for x in (one, other)]
        fine = [
            x - cv2.GaussianBlur(x, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE) for x in plain
        ]
        whole, detail = (np.corrcoef(x[0].ravel(), x[1].ravel())[0, 1] for x in (plain, fine))
        return bits <= 10 and 1 / 1.1 <= ratio <= 1.1 and whole >= 0.98 and detail >= 0.85

    expected = {
        (i, j)
        for i in range(36)
        for j in range(i + 1, 36)
        if alike(fingerprints[i], fingerprints[j])
    }
    assert {tuple(sorted(pair)) for pair in near_pairs(fingerprints)[0].tolist()} == expected
    assert len(expected) > 10


def test_clusters_join_exact_and_near_ones_through_others():
    one, other = particle(1), particle(2)
    images = [one, other, one, encoded(one, 80), particle(3), other]
    digests = ["c1", "b2", "c1", "a9", "d4", "b2"]
    fingerprints = [fingerprint(image) for image in images]
    found = clusters(digests, fingerprints)
    assert found == ["a9", "b2", "a9", "a9", "", "b2"]
    turned = clusters(digests[::-1], fingerprints[::-1])
    assert turned[::-1] == found, "the order does not matter"
    assert clusters([], []) == []


def test_same_bytes_under_two_classes_contradict():
    found = contradictions(["x", "y", "x", "x", "z", "y"], ["a", "a", "a", "b", "a", "a"])
    assert found == {0: 3, 2: 3, 3: 0}
