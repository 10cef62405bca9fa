"""Joins deliveries: the pictures that have one label, and those that have none, with the reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pi10_classifier.labelling.formats.given import picture_stem
from pi10_classifier.labelling.labels import Label, verdicts
from pi10_classifier.retraining.delivery import Delivery, Picture, key_of


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture with the label on which its labellers agree."""

    picture: Picture
    label: str


@dataclass(frozen=True, slots=True)
class Pool:
    """What all deliveries say together; each part is counted, so nothing is lost silently.

    labelled: pictures of the model's classes. contradicting: names of pictures on which labellers
    differ. no_class: label -> pictures whose label is no class. unlabelled: pictures without a
    label. without_picture: labels of names that no delivery has a picture of. replaced: pictures
    that came later under a name that was there, with other bytes.
    """

    labelled: tuple[Labelled, ...]
    contradicting: tuple[str, ...] = ()
    no_class: tuple[tuple[str, int], ...] = ()
    unlabelled: int = 0
    without_picture: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Labelled pictures of each class."""
        return {name: sum(x.label == name for x in self.labelled) for name in classes}

    def new(self, known: frozenset[tuple[str, str]]) -> int:
        """Labels that are not among ``known``, pairs of a picture's SHA-256 and its label."""
        return len({(x.picture.sha256, x.label) for x in self.labelled} - known)


def assemble(deliveries: Iterable[Delivery], classes: Sequence[str]) -> Pool:
    """Join deliveries in the order in which they came.

    A labeller's later label replaces the earlier one. Of several labellers all must agree. The
    first picture of a name stays, because labels were given for its pixels; the same bytes under
    two names count once.
    """
    pictures: dict[str, Picture] = {}
    last: dict[tuple[str, str], Label] = {}
    replaced: list[str] = []
    deliveries = list(deliveries)
    for delivery in deliveries:
        for key, picture in delivery.pictures.items():
            before = pictures.setdefault(key, picture)
            if before.sha256 != picture.sha256:
                replaced.append(picture.name)
    for delivery in deliveries:  # labels may come before their pictures
        for given in delivery.labels:
            last[given.labeller, _key(given.particle_id, pictures)] = given
    known = verdicts([replace(x, particle_id=key) for (_, key), x in last.items()])
    labelled: dict[str, Labelled] = {}
    no_class: Counter[str] = Counter()
    differing = {pictures[key].name for key in known.contradicting if key in pictures}
    for key, label in known.label_of.items():
        if key not in pictures:
            continue
        if label not in classes:
            no_class[label] += 1
            continue
        entry = Labelled(pictures[key], label)
        if labelled.setdefault(entry.picture.sha256, entry).label != label:
            differing |= {entry.picture.name, labelled[entry.picture.sha256].picture.name}
    names = sorted(differing)
    kept = (x for x in labelled.values() if x.picture.name not in differing)
    unlabelled = set(pictures) - set(known.label_of) - set(known.contradicting)
    return Pool(
        tuple(sorted(kept, key=lambda x: (x.label, x.picture.sha256))),
        tuple(names),
        tuple(sorted(no_class.items())),
        len(unlabelled),
        tuple(sorted((set(known.label_of) | set(known.contradicting)) - set(pictures))),
        tuple(replaced),
    )


def limited(
    pool: Pool, most: int, classes: Sequence[str]
) -> tuple[tuple[Labelled, ...], tuple[Labelled, ...]]:
    """At most ``most`` pictures, evenly of the classes as far as they go; and those left out.

    Which ones depends on their bytes alone, so the same labels always give the same pictures.
    """
    counts = pool.counts(classes)
    left, each = most, dict.fromkeys(classes, 0)
    for place, name in enumerate(sorted(classes, key=lambda name: counts[name])):
        each[name] = min(counts[name], left // (len(classes) - place))
        left -= each[name]
    kept: list[Labelled] = []
    over: list[Labelled] = []
    for name in classes:
        mine = [x for x in pool.labelled if x.label == name]
        mine.sort(key=lambda x: hashlib.sha256(f"limit/{x.picture.sha256}".encode()).digest())
        kept += mine[: each[name]]
        over += mine[each[name] :]
    return tuple(kept), tuple(over)


def _key(particle_id: str, pictures: Collection[str]) -> str:
    """The key of the picture that a label means; a name that no file can have has a stem."""
    stems = (particle_id.casefold(), key_of(particle_id), picture_stem(particle_id).casefold())
    return next((stem for stem in stems if stem in pictures), stems[1])
