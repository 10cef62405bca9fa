"""What a file of another tool says of particles, before it is known what it means here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pi10_classifier.labelling.crops import Located
from pi10_classifier.labelling.labels import Known

# the instrument's names are safe on every file system, and say more than a digest
_SAFE = re.compile(
    r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])\.)"  # devices of Windows
    r"[a-z0-9][a-z0-9_-]{0,31}\.[0-9.-]{10,20}\+N[0-9]{8}",
    re.ASCII,
)
_NOT_SAFE = re.compile(r"[^a-z0-9_-]+")
_MOST_SLUG = 60


@dataclass(frozen=True, slots=True)
class Given:
    """A label as the file has it.

    key: particle_id, or the stem of a picture's name. category: names from the root to the leaf;
    empty where the particle has no label yet. shown: the category as its tool shows it.
    labeller: "" where the file names nobody.
    """

    key: str
    category: tuple[str, ...]
    shown: str
    labeller: str = ""


@dataclass(slots=True)
class Reading:
    """The content of a file. not_taken: why labels were passed over, and how many.

    strange: names of files that are no picture of a sample, in a folder of pictures.
    """

    format: str
    given: list[Given] = field(default_factory=list)
    not_taken: dict[str, int] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)

    def pass_over(self, why: str) -> None:
        self.not_taken[why] = self.not_taken.get(why, 0) + 1


def plain(name: str, label: str, labeller: str = "") -> Given:
    """A label that is one name, without a hierarchy."""
    return Given(name, (label,) if label else (), label, labeller)


def picture_stem(particle_id: str) -> str:
    """The name of a particle's picture, without extension.

    It is valid and unique on every file system, also where case does not count. It has no space,
    so that what a file manager appends to a copy (``name (1)``, ``name - Copy``) can be told.
    """
    if _SAFE.fullmatch(particle_id):
        return particle_id
    slug = _NOT_SAFE.sub("-", particle_id.lower()).strip("-")[-_MOST_SLUG:].lstrip("-")
    digest = hashlib.sha256(particle_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{slug or 'particle'}-{digest}"


def by_key(sample: Iterable[Known]) -> dict[str, str]:
    """particle_id and picture stem (in lower case) -> particle_id."""
    ids = [particle.particle_id for particle in sample]
    stems = {picture_stem(particle_id).casefold(): particle_id for particle_id in ids}
    return {**stems, **{particle_id: particle_id for particle_id in ids}}


def distinct(sample: Iterable[Located]) -> list[Located]:
    """The sample with each particle_id once: labels are kept by it."""
    return list({particle.particle_id: particle for particle in reversed(list(sample))}.values())[
        ::-1
    ]
