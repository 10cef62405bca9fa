"""The pictures of a sample, for the formats that carry them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pi10_classifier.labelling.crops import CropCache, Located, Progress
from pi10_classifier.labelling.formats.given import distinct


@dataclass(slots=True)
class Pictures:
    """Each particle of a sample once, with its PNG. problems: particle_id -> why it has none."""

    run: Path
    sample: Sequence[Located]
    problems: dict[str, str] = field(default_factory=dict)

    def fetch(
        self,
        *,
        moved: Mapping[str, str] | None = None,
        progress: Progress = lambda done, wanted: None,
    ) -> None:
        """Read what is not kept yet. Raises SettingError and OutputError."""
        self.sample = distinct(self.sample)
        self.problems = CropCache(self.run).fill(self.sample, moved=moved, progress=progress)

    def __iter__(self) -> Iterator[tuple[Located, bytes]]:
        """Particle and PNG, in the order of the sample; those with a problem are left out."""
        cache = CropCache(self.run)
        for particle in self.sample:
            png = cache.read(particle)
            if png is not None:
                yield particle, png
            elif particle.particle_id not in self.problems:
                self.problems[particle.particle_id] = f"{cache.path(particle)} cannot be read"
