"""Splits samples into train, validation and test: stratified, grouped, reproducible by its seed.

This is our own code, because scikit-learn's StratifiedGroupKFold makes folds of equal size, which
depend on the order of the rows and use one label only. Here an image's place depends on its own
name, so images that are added later, or in another order, affect only their own stratum.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pi10_classifier.datasets.discovery import SPLITS
from pi10_classifier.datasets.manifest import manifest, read_manifest
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError

__all__ = ["FRACTIONS", "SPLITS", "counts", "leaks", "manifest", "read_manifest", "split"]

FRACTIONS = (0.7, 0.1, 0.2)
_TRAIN, _VALIDATION, _TEST = range(3)


def split(
    samples: Iterable[Sample], fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> list[Sample]:
    """Assign each sample to train, validation or test; the result is sorted by source and member.

    1. Within each source x label, in the order of SHA-256(seed, member): first the test
       images, then validation, then training.
    2. Images of one bin and duplicates stay together. The largest group comes first; each goes to
       the split that brings its strata, its classes and the whole closest to the fractions (least
       squares). All other images stay where step 1 put them.
    3. A class without an image in a split receives its smallest group from another one.

    A split that a table gives a sample is kept, and its group follows. Raises SettingError if a
    class cannot have an image in each split, or if a table gives exact duplicates different splits.
    """
    _check_fractions(fractions)
    samples = sorted(samples, key=lambda s: (s.source, s.member))
    if not samples:
        raise SettingError("there is no image to split; left_out.csv says why")
    place = _places(samples, fractions, seed)
    groups = _groups(samples)
    table = _Table(samples, fractions)
    large: list[list[int]] = []
    fixed: set[int] = set()
    for members in groups:
        given = {samples[i].split for i in members} - {""}
        if given:
            first = min(given, key=SPLITS.index)
            for i in members:
                place[i] = SPLITS.index(samples[i].split or first)
            fixed.update(members)
        if given or len(members) == 1:
            table.add(members, [place[i] for i in members])
        else:
            large.append(members)
    large.sort(key=lambda members: (-len(members), _order(samples[members[0]], seed)))
    for members in large:
        best = min(range(len(SPLITS)), key=lambda p: table.cost(members, p))
        for i in members:
            place[i] = best
        table.add(members, [best] * len(members))
    free = [members for members in groups if members[0] not in fixed]
    _fill_empty(samples, place, free, seed)
    done = [replace(s, split=SPLITS[p]) for s, p in zip(samples, place, strict=True)]
    _check(done, groups)
    return done


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise SettingError(
            f"split fractions are {tuple(fractions)}; give three shares above 0 for"
            f" train, validation and test that add up to 1"
        )


def _order(sample: Sample, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{sample.member}".encode()).digest()


def _places(samples: Sequence[Sample], fractions: Sequence[float], seed: int) -> list[int]:
    """Step 1: the split of each sample, without regard to groups."""
    strata: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, s in enumerate(samples):
        strata[s.source, s.group, s.label].append(i)
    place = [_TRAIN] * len(samples)
    for members in strata.values():
        members.sort(key=lambda i: _order(samples[i], seed))
        test = round(len(members) * fractions[_TEST])
        held = test + round(len(members) * fractions[_VALIDATION])
        for at, i in enumerate(members[:held]):
            place[i] = _TEST if at < test else _VALIDATION
    return place


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices of the samples that share a bin or a cluster, directly or through others."""
    keys: dict[tuple[str, str], int] = {}
    rows, columns = [], []
    for i, s in enumerate(samples):
        for kind, name in (("bin", s.bin), ("cluster", s.cluster)):
            if name:
                rows.append(i)
                columns.append(keys.setdefault((kind, name), len(samples) + len(keys)))
    size = len(samples) + len(keys)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), (size, size))
    label = connected_components(graph, directed=False)[1][: len(samples)]
    groups: dict[int, list[int]] = defaultdict(list)
    for i, component in enumerate(label.tolist()):
        groups[component].append(i)
    return list(groups.values())


class _Table:
    """Actual and target number of images per split, for each stratum, each class and the whole."""

    def __init__(self, samples: Sequence[Sample], fractions: Sequence[float]) -> None:
        self._keys = [(s.source, s.group, s.label) for s in samples]
        self._fractions = np.asarray(fractions)
        self._total = Counter(key for i in range(len(samples)) for key in self._levels(i))
        self._have: dict[tuple[str, ...], np.ndarray] = defaultdict(lambda: np.zeros(3))

    def _levels(self, i: int) -> tuple[tuple[str, ...], ...]:
        return self._keys[i], self._keys[i][:2], ()

    def add(self, members: Sequence[int], places: Sequence[int]) -> None:
        for i, place in zip(members, places, strict=True):
            for key in self._levels(i):
                self._have[key][place] += 1

    def cost(self, members: Sequence[int], place: int) -> float:
        """Increase of the sum of (images - target)^2 / target if the group is put there."""
        more = Counter(key for i in members for key in self._levels(i))
        cost = 0.0
        for key, count in more.items():
            target = self._total[key] * self._fractions[place]
            cost += count * (2 * (self._have[key][place] - target) + count) / target
        return cost


def _fill_empty(
    samples: Sequence[Sample], place: list[int], groups: Sequence[Sequence[int]], seed: int
) -> None:
    """Step 3, in place: a class that a split lacks gets its smallest group from another.

    The group comes from the split with most images of the class, and no class loses its last image.
    """
    have = Counter((s.group, p) for s, p in zip(samples, place, strict=True))
    for name in sorted({s.group for s in samples}):
        for wanted in range(len(SPLITS)):
            if have[name, wanted]:
                continue
            holding = [m for m in groups if any(samples[i].group == name for i in m)]
            movable = []
            for members in holding:
                inside = Counter(samples[i].group for i in members)
                at = place[members[0]]
                if all(have[x, at] > n for x, n in inside.items()):
                    rank = (-have[name, at], len(members), _order(samples[members[0]], seed))
                    movable.append((rank, members, inside))
            if movable:
                _, members, inside = min(movable, key=lambda x: x[0])
                for group, n in inside.items():
                    have[group, place[members[0]]] -= n
                    have[group, wanted] += n
                for i in members:
                    place[i] = wanted


def _check(samples: Sequence[Sample], groups: Sequence[Sequence[int]]) -> None:
    table = counts(samples)
    lacking = [
        (name, part) for name in table[SPLITS[0]] for part in SPLITS if not table[part][name]
    ]
    if lacking:
        name, part = lacking[0]
        holding = [m for m in groups if any(samples[i].group == name for i in m)]
        images = sum(s.group == name for s in samples)
        others = ", ".join(map(repr, dict.fromkeys(x for x, _ in lacking if x != name)))
        together = (
            f" in {len(holding)} group(s) that must stay together (bins, duplicates)"
            if len(holding) < images
            else ""
        )
        raise SettingError(
            f"split {part!r} has no image of class {name!r}, which has {images}"
            f" image(s){together}; each of the three splits needs at least one: add images,"
            " merge the class or leave it out ('-') in the label map, or correct the table's"
            " own splits" + (f"; the same holds for {others}" if others else "")
        )
    for kind, key, parts in leaks(samples):
        if kind == "sha256":
            raise SettingError(
                f"the same bytes ({key[:12]}…) were given to {' and '.join(parts)}; correct"
                " the column split of the table"
            )


def leaks(samples: Iterable[Sample]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Bytes, duplicates and bins that are in several splits, as (kind, key, splits).

    Only splits that a table gives can have any.
    """
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for s in samples:
        for kind, key in (("sha256", s.sha256), ("cluster", s.cluster), ("bin", s.bin)):
            if key:
                splits[kind, key].add(s.split)
    return [
        (kind, key, tuple(sorted(parts, key=SPLITS.index)))
        for (kind, key), parts in sorted(splits.items())
        if len(parts) > 1
    ]


def counts(
    samples: Iterable[Sample], classes: Sequence[str] | None = None
) -> dict[str, dict[str, int]]:
    """Number of images per split and class, for the given classes or for all."""
    samples = list(samples)
    names = sorted({s.group for s in samples}) if classes is None else classes
    table = {part: dict.fromkeys(names, 0) for part in SPLITS}
    for s in samples:
        if s.group in table[s.split]:
            table[s.split][s.group] += 1
    return table
