"""The labelling of one run's sample by people: what is labelled, what comes next, what it gives.

Several windows and several programs may label the same run at once: each answer is made from the
file of labels as it is now.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.agreement import Agreement, agreement
from pi10_classifier.labelling.crops import CropCache, Progress, Reader, rows_of
from pi10_classifier.labelling.estimation.estimate import CorrectedRow, correct_strata
from pi10_classifier.labelling.estimation.run_totals import read_totals, refuse_changed
from pi10_classifier.labelling.labels import Label, LabelStore, one_by_one, tidy_name, verdicts
from pi10_classifier.labelling.sample import DESIGN, FOLDER, SAMPLE, Design, Drawn, read_sample
from pi10_classifier.labelling.suggestions import suggested_ids, without_suggested
from pi10_classifier.results.run_info import classes_of

HISTORY = 12  # numbers of labels at which the density is told for the past
SIZES = ("width_px", "height_px", "esd_um", "major_um", "minor_um")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a labeller says of a particle. label: "" for none; taxon: a finer name, or ""."""

    particle_id: str
    label: str
    taxon: str = ""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a labeller is: particles labelled, of those with a picture; and those without."""

    labelled: int
    pictured: int
    without_picture: int


class ChangedMeanwhileError(SettingError):
    """Another window has changed the label that was to be taken back."""


class Session:
    """One run that is being labelled. Threads and processes may use it at once; it can be pickled.

    sizes: one for each particle of the sample, by ``SIZES``; None where the run has none.
    problems: particle_id -> why it has no picture.
    """

    def __init__(
        self, run: Path, design: Design, sample: Sequence[Drawn], classes: Sequence[str],
        problems: Mapping[str, str], sizes: Sequence[Mapping[str, float | None]],
        litres: Mapping[str, float],
    ) -> None:  # fmt: skip
        self.run, self.design, self.sample, self.classes = run, design, sample, classes
        self.problems, self.sizes = problems, sizes
        self.pictures = CropCache(run)
        self.store = LabelStore(run, classes)
        self._by_id = {particle.particle_id: particle for particle in sample}
        self._litres = litres
        self._suggested = suggested_ids(run)
        self._drawn = _version(run / FOLDER / SAMPLE)
        self._read: tuple[object, list[Label]] = (None, [])
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Session], tuple[object, ...]]:
        """For another process: what was read of the run goes along, labels are read again there."""
        given = (self.run, self.design, self.sample, self.classes, self.problems, self.sizes)
        return Session, (*given, self._litres)

    @classmethod
    def open(
        cls, run: Path, *, moved: Mapping[str, str] | None = None, reader: Reader | None = None,
        progress: Progress = lambda done, wanted: None,
    ) -> Session:  # fmt: skip
        """Read the sample of a run, and its pictures into the cache.

        moved, reader: as of ``read_crops``. Raises SettingError where there is no
        sample, or one of another model, or of the run as it was before it changed.
        """
        design = Design.read(run / FOLDER / DESIGN)
        classes = classes_of(run, design.model_sha256)
        sample = read_sample(run)
        if not sample:
            raise SettingError(f"the sample of {run} is empty; draw it again: pi10 validate draw")
        totals = read_totals(run)
        refuse_changed(run, totals, design.strata, design.by)
        sizes = _sizes(run, sample)
        problems = CropCache(run).fill(sample, moved=moved, reader=reader, progress=progress)
        litres = totals.litres_by(design.by)
        return cls(run, design, sample, classes, problems, sizes, litres)

    @property
    def outdated(self) -> bool:
        """Whether the sample was drawn again since."""
        return _version(self.run / FOLDER / SAMPLE) != self._drawn

    def _check_place(self) -> None:
        """Raises SettingError where the folder is gone: its labels would seem to be none."""
        if not (self.run / FOLDER).is_dir():
            raise SettingError(
                f"{self.run / FOLDER} was moved or deleted meanwhile; put it back, or start the "
                "page again where it is now: pi10 validate label RESULTS"
            )

    def labellers(self) -> list[str]:
        return sorted({label.labeller for label in self._labels()})

    def labels_of(self, labeller: str) -> dict[str, Label]:
        """particle_id -> label, in the order in which they were given."""
        name = tidy_name(labeller)
        return {
            label.particle_id: label
            for label in self._labels()
            if label.labeller == name and label.particle_id in self._by_id
        }

    def put(
        self, labeller: str, choices: Sequence[Choice], expected: Sequence[Choice] | None = None
    ) -> list[Choice]:
        """Have labels on the disk; returns what the labeller had said of these particles before.

        expected: what the labeller is thought to have said, as when labels are taken back. Raises
        SettingError for what is no label or no particle of the sample, ChangedMeanwhileError where
        it is not as expected; nothing is written then.
        """
        if not tidy_name(labeller):
            raise SettingError("the labeller has no name; give one, so that labels can be told")
        self._check_place()
        if self.outdated:
            raise SettingError(
                f"the sample of {self.run} was drawn again meanwhile; start the page again: "
                f"pi10 validate label {self.run}"
            )
        for choice in choices:
            if choice.particle_id not in self._by_id:
                raise SettingError(f"particle {choice.particle_id[:80]!r} is not in the sample")
            if choice.label and choice.particle_id in self.problems:
                raise SettingError(
                    f"particle {choice.particle_id} has no picture to judge by "
                    f"({self.problems[choice.particle_id]}); skip it"
                )
        with self._lock:
            present = self.labels_of(labeller)
            former = [_choice(choice.particle_id, present) for choice in choices]
            if expected is not None and [*expected] != former:
                raise ChangedMeanwhileError(
                    f"{labeller} has labelled this in another window meanwhile; look at it again"
                )
            self.store.add(
                [(choice.particle_id, choice.label, choice.taxon if choice.label else "")
                 for choice in choices], labeller,
            )  # fmt: skip
        return former

    def undo(self, labeller: str, given: Sequence[Choice], former: Sequence[Choice]) -> None:
        """Take ``given`` back: what was said before holds again. Raises ChangedMeanwhileError."""
        self.put(labeller, former, given)

    def next_unlabelled(self, labeller: str, after: int = -1, stratum: str = "") -> int | None:
        """The order of the next particle without a label, which is also how one is skipped.

        Behind the last, the first ones come again, but for those without a picture; None where
        nothing is left.
        """
        known = self.labels_of(labeller)
        left = [
            particle for particle in self._of(stratum)
            if particle.particle_id not in known and particle.order != after
        ]  # fmt: skip
        for particle in left:
            if particle.order > after >= 0:
                return particle.order
        return next((p.order for p in left if p.particle_id not in self.problems), None)

    def reached(self, labeller: str, stratum: str = "") -> Reached:
        known = self.labels_of(labeller)
        particles = list(self._of(stratum))
        without = sum(particle.particle_id in self.problems for particle in particles)
        labelled = sum(
            particle.particle_id in known and particle.particle_id not in self.problems
            for particle in particles
        )
        return Reached(labelled, len(particles) - without, without)

    def agreements(self, labeller: str) -> dict[str, Agreement]:
        """Other labeller -> agreement on what both have labelled."""
        own = self.labels_of(labeller)
        return {
            other: agreement([
                (own[name].label, label.label)
                for name, label in self.labels_of(other).items() if name in own
            ])
            for other in self.labellers() if other != tidy_name(labeller)
        }  # fmt: skip

    def disagreements(self, labeller: str) -> dict[str, dict[str, Label]]:
        """particle_id -> other labeller -> other label, where ``labeller`` gave one of their own.

        So nobody sees what others said before they have judged themselves.
        """
        own = self.labels_of(labeller)
        differing: dict[str, dict[str, Label]] = {}
        for label in self._labels():
            mine = own.get(label.particle_id)
            if mine and mine.label != label.label:
                differing.setdefault(label.particle_id, {})[label.labeller] = label
        return differing

    def density(self, labeller: str, stratum: str) -> list[CorrectedRow]:
        """The corrected densities of one stratum by the labels of one labeller."""
        return self._corrected(list(self.labels_of(labeller).values()), stratum)

    def history(self, labeller: str, stratum: str) -> Iterator[list[CorrectedRow]]:
        """The same as it was at ``HISTORY`` smaller numbers of labels, in the order given."""
        here = [
            label for name, label in self.labels_of(labeller).items()
            if self._by_id[name].stratum == stratum
        ]  # fmt: skip
        numbers = {len(here) * step // HISTORY for step in range(1, HISTORY)} - {0, len(here)}
        for number in sorted(numbers):
            yield self._corrected(here[:number], stratum)

    def _corrected(self, labels: Sequence[Label], stratum: str) -> list[CorrectedRow]:
        if stratum not in self.design.strata:
            raise SettingError(
                f"stratum {stratum[:80]!r} is none of {', '.join([*self.design.strata][:20])}"
            )
        known = without_suggested(self.sample, verdicts(labels), self._suggested)
        return correct_strata(
            self.design, self.sample, known, self.classes, self._litres, [stratum]
        )

    def _of(self, stratum: str) -> Iterator[Drawn]:
        return (particle for particle in self.sample if stratum in ("", particle.stratum))

    def _labels(self) -> list[Label]:
        """All labels given one by one; the file is read again only where it changed."""
        self._check_place()
        version = _version(self.store.path)
        if self._read[0] != version:
            self._read = (version, one_by_one(self.store.read()))
        return self._read[1]


def _choice(particle_id: str, known: Mapping[str, Label]) -> Choice:
    label = known.get(particle_id)
    return Choice(particle_id, label.label, label.taxon) if label else Choice(particle_id, "")


def _version(path: Path) -> object:
    try:
        info = path.stat()
    except OSError:
        return ()
    return info.st_size, info.st_mtime_ns, info.st_ino


def _sizes(run: Path, sample: Sequence[Drawn]) -> list[dict[str, float | None]]:
    """The measures of each particle as the run has them."""
    rows = rows_of(run, sample, ["particle_id", *SIZES])
    sizes = []
    for particle in sample:
        row = dict(rows[particle.part, particle.row])
        if row.pop("particle_id") != particle.particle_id:
            raise SettingError(
                f"the sample in {run} was drawn from another run: {particle.part}.parquet holds "
                f"other particles now; draw it again: pi10 validate draw {run} --overwrite"
            )
        sizes.append(row)
    return sizes
