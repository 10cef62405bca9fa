"""The sorting of one run's particles by a person: clusters in, names of whole clusters out.

Names go into the labels of the run, marked as given to whole clusters, and what was named is kept
among the suggestions, so that models can be made of it and no estimate uses it. Particles of the
probability sample, and those that have a label already, are never shown.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier.embedding.clusters import LEAST, least_of, nearest, seeds
from pi10_classifier.embedding.sort_journal import SortJournal
from pi10_classifier.embedding.sort_state import (
    END,
    FITS,
    MIXED,
    MODE,
    NAME,
    NAMED,
    NO,
    OUT,
    PAGE,
    ROUND,
    SEED,
    STOP,
    UNDO,
    YES,
    Event,
    SortState,
    effective,
    last_answer,
    replay,
)
from pi10_classifier.embedding.space import F32, directions
from pi10_classifier.embedding.table import Particles, read_particles
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.crops import CropCache, Progress
from pi10_classifier.labelling.labelled import sample_of
from pi10_classifier.labelling.labels import SORTED, LabelStore, tidy_name
from pi10_classifier.labelling.suggestions import (
    Suggestion,
    read_suggestions,
    write_suggestions,
)
from pi10_classifier.results.run_info import classes_of

SHOWN = 48  # particles of a cluster shown at once
MOST_CANDIDATES = 100 * PAGE  # that one cluster may grow by
MOST = 50_000
_PLAIN = (MIXED, YES, NO, STOP)


class SortedMeanwhileError(SettingError):
    """Another window has answered since this one was shown what it asks."""


@dataclass(frozen=True, slots=True)
class View:
    """What the person is to look at and to answer.

    step: answers so far; the next answer repeats it. rows: shown, the most typical first. out:
    rows taken out. members: particles that a name would go to. left: without a name. gathered:
    in the cluster, also what was taken out. names: label -> particles.
    """

    step: int
    stage: str
    rows: tuple[int, ...]
    out: tuple[int, ...]
    members: int
    gathered: int
    left: int
    round: int
    cluster: int
    of: int
    paged: bool
    clusters_named: int
    names: Mapping[str, int]
    finished: bool
    can_undo: bool


class SortSession:
    """One sorting. Threads may use it at once; ``open`` makes one."""

    def __init__(
        self, run: Path, labeller: str, particles: Particles, store: LabelStore,
        journal: SortJournal, problems: Mapping[str, str], least: int,
    ) -> None:  # fmt: skip
        self.run, self.labeller, self.particles, self.store = run, labeller, particles, store
        self.problems = problems
        self.pictures = CropCache(run)
        self._journal = journal
        self._least = least
        self._x: F32 = directions(particles.features)
        self._lock = threading.Lock()
        self._events: list[Event] = list(journal.read())
        self._state = replay(self._events)
        self._heal()

    @classmethod
    @contextmanager
    def open(
        cls, run: Path, labeller: str, *, most: int, seed: int = 0, least: int = 0,
        again: bool = False, moved: Mapping[str, str] | None = None,
        progress: Progress = lambda done, wanted: None,
    ) -> Iterator[SortSession]:  # fmt: skip
        """Go on with the sorting of a run, or begin one.

        most: particles, chosen at random where the run has more. least: size of a cluster in the
        first round; 0 for one by the number of particles. again: begin anew, whatever was sorted
        before; labels stay. Raises SettingError.
        """
        if not tidy_name(labeller):
            raise SettingError("--labeller is empty; give a name, so that labels can be told")
        if not 3 <= most <= MOST:
            raise SettingError(f"--n is {most}; it must be 3 to {MOST:,}")
        if least and not 2 <= least <= most:
            raise SettingError(f"--least is {least}; it must be 2 to {most:,}")
        classes = classes_of(run)
        particles = read_particles(run, most, seed=seed)
        names = "\n".join(place.particle_id for place in particles.places)
        about = {
            "labeller": tidy_name(labeller),
            "model_sha256": particles.model_sha256,
            "particles": len(particles.places),
            "particles_sha256": hashlib.sha256(names.encode()).hexdigest(),
        }
        with SortJournal(run, about) as journal:
            if again:
                journal.set_aside()
            journal.read()  # refuses another sorting before pictures are read
            cache = CropCache(run)
            problems = cache.fill(particles.places, moved=moved, progress=progress, sync=False)
            store = LabelStore(run, classes)
            yield cls(run, tidy_name(labeller), particles, store, journal, problems, least)

    def view(self) -> View:
        with self._lock:
            return self._view()

    def answer(self, kind: str, step: int, fields: Mapping[str, Any]) -> View:
        """Take an answer, have it on the disk, and say what comes next.

        kind: ``out`` (row: take out of the cluster, or put back), ``fits`` (the cluster is of one
        kind: grow it), ``mixed`` (leave it), ``yes`` or ``no`` (all of a page belong to it),
        ``stop`` (growing), ``mode`` (paged), ``name`` (label, taxon), ``round`` (cluster what has
        no name), ``undo``. step: of the view that it answers. Raises SortedMeanwhileError where
        that is not the present one, SettingError for what is no answer to it; nothing is changed
        then.
        """
        with self._lock:
            if step != len(self._events):
                raise SortedMeanwhileError(
                    "another window has answered meanwhile; this one shows the present state now"
                )
            if kind == UNDO:
                self._undo()
            elif kind == NAMED:
                self._name(str(fields.get("label", "")), str(fields.get("taxon", "")))
            else:
                self._take(self._event(kind, fields))
            return self._view()

    def _event(self, kind: str, fields: Mapping[str, Any]) -> Event:
        state = self._state
        if kind == OUT:
            row = fields.get("row")
            if not isinstance(row, int) or isinstance(row, bool):
                raise SettingError(f"{str(row)[:40]!r} is no particle; reload the page")
            return {"kind": OUT, "row": row}
        if kind == MODE:
            return {"kind": MODE, "paged": fields.get("paged") is True}
        if kind == FITS and state.stage == SEED:
            members = state.members
            if not members:
                raise SettingError("all of the cluster was taken out; leave it as mixed")
            gone = {*state.seed, *state.names, *self._taken()}
            others = np.array([row for row in range(len(self._x)) if row not in gone], np.int64)
            found = nearest(self._x, np.array(members), others, MOST_CANDIDATES)
            return {"kind": FITS, "candidates": found.tolist()}
        if kind == ROUND and state.stage == END:
            return self._round()
        if kind in (*_PLAIN, FITS, ROUND):
            return {"kind": kind}
        raise SettingError(f"{kind[:20]!r} is no answer; reload the page")

    def _round(self) -> Event:
        """Clusters of what has no name yet, smaller ones where there are no large ones."""
        state = self._state
        free = self._free()
        least = min(state.least or MOST, self._least or least_of(len(free)))
        if state.rounds and not state.named_in_round:
            least = least // 2  # the same clusters would come again
        least = max(least, min(LEAST, self._least or LEAST))
        while True:
            found = [free[rows].tolist() for rows in seeds(self._x[free], least)]
            # one that was left as it is would get the same answer
            clusters = [rows for rows in found if frozenset(rows) not in state.left]
            if clusters or least <= LEAST:
                return {"kind": ROUND, "least": least, "clusters": clusters}
            least = max(LEAST, least // 2)

    def _free(self) -> Any:
        gone = {*self._state.names, *self._taken()}
        return np.array([row for row in range(len(self._x)) if row not in gone], np.int64)

    def _taken(self) -> set[int]:
        """Rows that are not to be sorted: of the sample, labelled otherwise, without a picture."""
        own = {self.particles.places[row].particle_id for row in self._state.names}
        known = {label.particle_id for label in self.store.read()} - own
        known |= {particle.particle_id for particle in sample_of(self.run)} | self.problems.keys()
        return {
            row for row, place in enumerate(self.particles.places) if place.particle_id in known
        }

    def _take(self, event: Event) -> None:
        """Try an event on a copy, so that a wrong one changes nothing; then disk, then state."""
        tried = replay([*self._events, event])
        self._journal.add(event)
        self._events.append(event)
        self._state = tried

    def _name(self, label: str, taxon: str) -> None:
        if not label or label not in self.store.allowed:
            raise SettingError(f"label {label[:60]!r} is none of {', '.join(self.store.allowed)}")
        taken = self._taken()
        rows = [row for row in self._state.members if row not in taken]
        if not rows:
            raise SettingError("no particle is left in this cluster to name; leave it as mixed")
        event = {"kind": NAMED, "label": label, "taxon": tidy_name(taxon), "rows": rows}
        replay([*self._events, event])  # refused before anything is written
        self._store(rows, label, tidy_name(taxon))
        self._take(event)

    def _store(self, rows: Sequence[int], label: str, taxon: str) -> None:
        middle = self._x[list(rows)].mean(axis=0)
        alike = self._x[list(rows)] @ middle / max(float(np.linalg.norm(middle)), 1e-12)
        entries: list[Suggestion] = [
            replace(self.particles.places[row], value=float(value))
            for row, value in zip(rows, alike.tolist(), strict=True)
        ]
        write_suggestions(self.run, [*read_suggestions(self.run), *entries])
        given = [(entry.particle_id, label, taxon) for entry in entries]
        self.store.add(given, self.labeller, SORTED)

    def _undo(self) -> None:
        events = effective(self._events)
        place = last_answer(events)
        if place is None:
            raise SettingError("there is no answer to take back")
        last = events[place]
        self._take({"kind": UNDO})
        if last["kind"] == NAMED:
            self._take_back(last)

    def _take_back(self, named: Event) -> None:
        """Take labels back, but for those that were given anew since."""
        ids = {self.particles.places[row].particle_id for row in named["rows"]}
        held = {
            one.particle_id
            for one in self.store.read()
            if one.how == SORTED and one.labeller == self.labeller and one.label == named["label"]
        }
        ids &= held
        if ids:
            self.store.add([(name, "") for name in sorted(ids)], self.labeller, SORTED)
            others = {one.particle_id for one in self.store.read()}
            kept = [e for e in read_suggestions(self.run) if e.particle_id not in ids - others]
            write_suggestions(self.run, kept)

    def _heal(self) -> None:
        """Finish what a kill between labels and journal left: a taking back, or a name."""
        holding = {id(event) for event in effective(self._events)}
        for event in self._events:
            if event["kind"] == NAMED and id(event) not in holding:
                rows = [row for row in event["rows"] if row not in self._state.names]
                self._take_back({**event, "rows": rows})
        given = {
            one.particle_id: one
            for one in self.store.read()
            if one.how == SORTED and one.labeller == self.labeller
        }
        places = self.particles.places
        rows = [row for row in self._state.members if places[row].particle_id in given]
        if rows:
            label = given[places[rows[0]].particle_id]
            self._take({"kind": NAMED, "label": label.label, "taxon": label.taxon, "rows": rows})

    def _view(self) -> View:
        state = self._state
        rows = state.page()
        if state.stage == SEED:
            rows = _spread(rows, SHOWN)
        elif state.stage == NAME:
            rows = rows[-SHOWN:]  # those that came last are the least alike
        names = Counter(label for label, _ in state.names.values())
        return View(
            step=len(self._events), stage=state.stage, rows=tuple(rows),
            out=tuple(sorted(state.out)), members=len(state.members),
            gathered=len(state.gathered), left=len(self.particles.places) - len(state.names),
            round=state.rounds, cluster=state.gone_through + 1, of=state.of, paged=state.paged,
            clusters_named=state.named_clusters, names=dict(names.most_common()),
            finished=state.stage == END and state.rounds > 0 and self._exhausted(state),
            can_undo=last_answer(effective(self._events)) is not None,
        )  # fmt: skip

    def _exhausted(self, state: SortState) -> bool:
        """Whether clustering again would show nothing new."""
        smallest = state.least <= LEAST
        return smallest and not state.named_in_round


def _spread(rows: Sequence[int], most: int) -> list[int]:
    """At most so many of a list, from its first to its last."""
    if len(rows) <= most:
        return list(rows)
    places = np.linspace(0, len(rows) - 1, most).round().astype(int).tolist()
    return [rows[place] for place in places]
