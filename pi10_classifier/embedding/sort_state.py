"""What a person has answered so far while sorting, and so what is asked next.

The state follows from the events alone, in their order, so that a journal of them restores it.
A cluster goes through up to two stages: ``seed`` (is it of one kind?) and ``grow`` (rows of the
nearest others: do all belong to it?); then it has a name. Growing looks at one page in 1, 2, 4, 8
... until one does not fit, and halves the gap from there (galloping search; Bentley and Yao 1976,
doi:10.1016/0020-0190(76)90071-5), or at every page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pi10_classifier.errors import SettingError

PAGE = 24  # particles of one page while a cluster grows
SEED, GROW, NAME, END = "seed", "grow", "name", "end"
ROUND, OUT, FITS, MIXED, YES, NO, STOP, MODE, NAMED, UNDO = (
    "round", "out", "fits", "mixed", "yes", "no", "stop", "mode", "name", "undo",
)  # fmt: skip

Event = Mapping[str, Any]


@dataclass(slots=True)
class Growth:
    """The search for where a cluster ends among its candidates, the nearest first.

    fitting: pages that belong to it. refused: the first page known not to; None where none is.
    step: how many pages the next look goes on.
    """

    candidates: Sequence[int]
    fitting: int = 0
    refused: int | None = None
    step: int = 1

    @property
    def pages(self) -> int:
        return -(-len(self.candidates) // PAGE)

    def probe(self, *, paged: bool) -> int | None:
        """The page to look at next; None where the end is found."""
        end = self.pages if self.refused is None else self.refused
        if self.fitting >= end:
            return None
        if paged:
            return self.fitting
        if self.refused is None:
            return min(self.fitting + self.step - 1, end - 1)
        return (self.fitting + end) // 2

    def rows(self, page: int) -> list[int]:
        return list(self.candidates[page * PAGE : (page + 1) * PAGE])

    def accepted(self) -> list[int]:
        return list(self.candidates[: self.fitting * PAGE])


@dataclass(slots=True)
class SortState:
    """The state after some events.

    names: row -> (label, taxon). clusters: of this round, not yet gone through, the present one
    first. cluster: rows of the present one without those taken out. shown: number of clusters
    gone through in this round. least: of this round. answered: answers of the person so far.
    left: clusters, as they were found, that got no name.
    """

    names: dict[int, tuple[str, str]] = field(default_factory=dict)
    clusters: list[list[int]] = field(default_factory=list)
    stage: str = END
    out: set[int] = field(default_factory=set)
    growth: Growth | None = None
    paged: bool = False
    rounds: int = 0
    least: int = 0
    gone_through: int = 0
    of: int = 0
    answered: int = 0
    named_clusters: int = 0
    named_in_round: int = 0
    left: set[frozenset[int]] = field(default_factory=set)

    @property
    def seed(self) -> list[int]:
        """The present cluster as it was found, but for what has a name."""
        return self.clusters[0] if self.clusters else []

    @property
    def gathered(self) -> list[int]:
        """The seed and what it grew by, also what was taken out."""
        return [*self.seed, *(self.growth.accepted() if self.growth else [])]

    @property
    def members(self) -> list[int]:
        """What gets the name: what is gathered, without what was taken out."""
        return [row for row in self.gathered if row not in self.out]

    def page(self) -> list[int]:
        """The rows to be looked at now."""
        if self.stage == SEED:
            return self.seed
        if self.stage == GROW and self.growth is not None:
            probe = self.growth.probe(paged=self.paged)
            return [] if probe is None else self.growth.rows(probe)
        return self.gathered if self.stage == NAME else []

    def apply(self, event: Event) -> None:
        """Raises SettingError where the event does not fit the stage; nothing is changed then."""
        kind = str(event.get("kind"))
        stages = _STAGES.get(kind)
        if stages is None or self.stage not in stages:
            raise SettingError(f"{kind[:20]!r} is no answer to what is asked now; reload the page")
        if kind == ROUND:
            self._begin(event)
            return
        if kind == OUT:
            row = int(event["row"])
            if row not in {*self.page(), *self.gathered}:
                raise SettingError(f"particle {row} is not shown; reload the page")
            self.out ^= {row}
        elif kind == FITS:
            self.growth = Growth([int(row) for row in event["candidates"]])
            self.stage = GROW
            self._settle()
        elif kind in (YES, NO):
            self._look(fits=kind == YES)
        elif kind == STOP:
            self.stage = NAME
        elif kind == MODE:
            self.paged = bool(event["paged"])
            self._settle()
        elif kind == NAMED:
            name = (str(event["label"]), str(event.get("taxon", "")))
            self.names |= dict.fromkeys(map(int, event["rows"]), name)
            self.named_clusters += 1
            self.named_in_round += 1
            self._next()
        else:  # MIXED
            self.left.add(frozenset(self.seed))
            self._next()
        self.answered += 1

    def _begin(self, event: Event) -> None:
        self.clusters = [[int(row) for row in rows] for rows in event["clusters"]]
        self.least, self.rounds = int(event["least"]), self.rounds + 1
        self.of, self.gone_through, self.named_in_round = len(self.clusters), -1, 0
        self.clusters.insert(0, [])
        self._next()

    def _look(self, *, fits: bool) -> None:
        growth = self.growth
        page = growth.probe(paged=self.paged) if growth else None
        if growth is None or page is None:
            raise SettingError("there is no page to judge; reload the page")
        if fits:
            growth.fitting = page + 1
            growth.step *= 2
        else:
            growth.refused = page
        self._settle()

    def _settle(self) -> None:
        """Go on to the name where the end of the cluster is found."""
        if self.stage == GROW and self.growth and self.growth.probe(paged=self.paged) is None:
            self.stage = NAME

    def _next(self) -> None:
        """Go on to the next cluster that still has particles without a name."""
        self.growth, self.out = None, set()
        self.clusters.pop(0)
        self.gone_through += 1
        while self.clusters:
            left = [row for row in self.clusters[0] if row not in self.names]
            if len(left) >= 2:
                self.clusters[0] = left
                self.stage = SEED
                return
            self.clusters.pop(0)
            self.gone_through += 1
        self.stage = END


_STAGES: Mapping[str, tuple[str, ...]] = {
    ROUND: (END,),
    OUT: (SEED, GROW, NAME),
    FITS: (SEED,),
    MIXED: (SEED, GROW, NAME),
    YES: (GROW,),
    NO: (GROW,),
    STOP: (GROW,),
    MODE: (SEED, GROW, NAME),
    NAMED: (SEED, GROW, NAME),
}


def effective(events: Sequence[Event]) -> list[Event]:
    """The events that hold: without those taken back, and without what takes back."""
    kept: list[Event] = []
    for event in events:
        if event.get("kind") != UNDO:
            kept.append(event)
        elif (place := last_answer(kept)) is not None:
            # what the program did of itself after it falls with it
            del kept[place:]
    return kept


def last_answer(events: Sequence[Event]) -> int | None:
    """The place of the last answer of a person among events; None where there is none."""
    places = [n for n, event in enumerate(events) if event.get("kind") != ROUND]
    return places[-1] if places else None


def replay(events: Sequence[Event]) -> SortState:
    """The state after events as a journal holds them."""
    state = SortState()
    for event in effective(events):
        state.apply(event)
    return state
