"""What is asked next follows from the answers; a person's way through clusters."""

from __future__ import annotations

from typing import Any

import pytest

from pi10_classifier.embedding.sort_state import (
    END,
    GROW,
    NAME,
    PAGE,
    SEED,
    Growth,
    SortState,
    effective,
    replay,
)
from pi10_classifier.errors import SettingError

CANDIDATES = list(range(100, 100 + 10 * PAGE))


def after(*events: dict[str, Any]) -> SortState:
    clusters = [[1, 2, 3], [3, 4, 5], [6, 7]]
    return replay([{"kind": "round", "least": 3, "clusters": clusters}, *events])


FITS = {"kind": "fits", "candidates": CANDIDATES}
YES, NO, UNDO = ({"kind": kind} for kind in ("yes", "no", "undo"))


def name(*rows: int, label: str = "copepod") -> dict[str, Any]:
    return {"kind": "name", "label": label, "taxon": "", "rows": list(rows)}


@pytest.mark.parametrize("end", range(11))
@pytest.mark.parametrize("paged", [False, True])
def test_the_end_of_a_cluster_is_found_wherever_it_is(end: int, paged: bool) -> None:
    growth, looks = Growth(CANDIDATES), 0
    while (page := growth.probe(paged=paged)) is not None:
        looks += 1
        assert len(growth.rows(page)) == PAGE
        if page < end:
            growth.fitting, growth.step = page + 1, growth.step * 2
        else:
            growth.refused = page
    assert growth.accepted() == CANDIDATES[: end * PAGE]
    assert looks <= (end + 1 if paged else 8)


def test_galloping_looks_at_ever_farther_pages_then_halves_the_gap() -> None:
    state = after(FITS)
    pages = []
    for answer in (YES, YES, NO, YES, NO):  # pages 0, 2, 6, 4, 5
        pages.append((state.page()[0] - 100) // PAGE)
        state.apply(answer)
    assert pages == [0, 2, 6, 4, 5] and state.stage == NAME
    assert state.members == [1, 2, 3, *CANDIDATES[: 5 * PAGE]]


def test_what_was_taken_out_gets_no_name_and_can_be_put_back() -> None:
    state = after({"kind": "out", "row": 2}, FITS, YES, {"kind": "out", "row": 101}, NO)
    assert state.stage == GROW and 2 not in state.members and 101 not in state.members
    state.apply({"kind": "out", "row": 2})
    state.apply({"kind": "stop"})
    assert 2 in state.members and set(state.page()) == {1, 2, 3, *CANDIDATES[:PAGE]}
    with pytest.raises(SettingError, match="not shown"):
        state.apply({"kind": "out", "row": 6})


def test_a_named_particle_is_in_no_later_cluster() -> None:
    state = after(name(1, 2, 3))
    assert state.seed == [4, 5] and state.gone_through == 1
    state.apply(name(4, 5, 6))
    assert state.stage == END and state.gone_through == 3  # one particle is no cluster
    assert state.names[6] == ("copepod", "") and state.named_clusters == 2


def test_answers_that_do_not_fit_are_refused() -> None:
    for event in (YES, {"kind": "stop"}, {"kind": "round", "clusters": [], "least": 5}, {}):
        with pytest.raises(SettingError, match="no answer to what is asked"):
            after(event)
    state = after({"kind": "mixed"}, {"kind": "mixed"}, {"kind": "mixed"})
    assert state.stage == END and not state.names
    with pytest.raises(SettingError):
        state.apply(name(1))


def test_taking_back_goes_one_answer_at_a_time() -> None:
    events = [FITS, YES, NO, UNDO]
    assert after(*events).page() == after(FITS, YES).page()
    assert after(*events, UNDO, UNDO, UNDO, UNDO).stage == SEED
    again = {"kind": "round", "least": 3, "clusters": [[8, 9]]}
    ends = [name(1, 2, 3), name(4, 5), name(6, 7)]
    assert after(*ends, again).seed == [8, 9]
    assert after(*ends, again, UNDO).seed == [6, 7]  # the round that came by itself goes too
    assert len(effective([*ends, again, UNDO])) == 2
