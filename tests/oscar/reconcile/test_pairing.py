"""Two sorted listings paired, against the plain way with a dictionary."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.bucket import Listed, Output
from pi10_classifier.oscar.reconcile.pairing import Pair, PairState, pairs
from pi10_classifier.oscar.records.naming import TABLES, Ending, ObjectVersion, ResultName, stem_of

MODEL = "ab" * 32
OTHER = "cd" * 32
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def listed(key: str, etag: str = "e1") -> Listed:
    return Listed(ObjectVersion("pi10", key, etag, 1), WHEN)


def output(key: str, ending: str, etag: str = "e1", model: str = MODEL) -> Output:
    return Output(str(ResultName.of(ObjectVersion("pi10", key, etag, 1), model, ending)), WHEN)


def run(inputs: list[Listed], outputs: list[Output]) -> tuple[dict[str, Pair], list[str]]:
    """Pair the two; also the names of orphans."""
    by_bytes = sorted(outputs, key=lambda entry: entry.name.encode())
    orphans: list[str] = []
    found = list(
        pairs(
            sorted(inputs, key=lambda entry: entry.version.key.encode()),
            (entry for entry in by_bytes if not entry.name.startswith("~long/")),
            MODEL,
            lambda stem: [entry for entry in by_bytes if entry.name.startswith(stem)],
            lambda entry, _: orphans.append(entry.name),
        )
    )
    by_key = {pair.listed.version.key: pair for pair in found}
    assert len(by_key) == len(found)
    return by_key, orphans


@pytest.mark.parametrize(
    ("endings", "state"),
    [
        ((), PairState.MISSING),
        ((Ending.RESULT,), PairState.RESULT),
        ((Ending.FAILURE,), PairState.FAILURE),
        ((Ending.RETRY,), PairState.RETRY),
        ((Ending.RETRY, Ending.FAILURE), PairState.FAILURE),
        ((Ending.RETRY, Ending.FAILURE, Ending.RESULT), PairState.RESULT),
        ((Ending.TABLES_RESULT,), PairState.MISSING),
        ((Ending.TABLES_RESULT, *TABLES[:3]), PairState.MISSING),
        (TABLES, PairState.MISSING),
        ((Ending.TABLES_RESULT, *TABLES), PairState.RESULT),
        (("attempt-1",), PairState.MISSING),
    ],
)
def test_the_state_of_an_input(endings: tuple[str, ...], state: PairState) -> None:
    by_key, _ = run([listed("in/a")], [output("in/a", ending) for ending in endings])
    assert by_key["in/a"].state is state


@pytest.mark.parametrize(
    ("endings", "said"),
    [
        ((), (0, 0, 1)),
        (("attempt-1",), (1, 0, 2)),
        (("attempt-1", "attempt-1.begun"), (1, 1, 2)),
        (("attempt-0.begun", "attempt-1"), (1, 1, 2)),  # an event's own job began, too
        ([f"attempt-{n}" for n in range(1, 10)], (9, 0, 1)),  # counted no further
        ([f"attempt-{n}" for n in range(1, 10)] + ["attempt-1.begun"], (9, 1, 2)),
        ([f"attempt-{n}.begun" for n in range(1, 10)], (0, 9, 9)),
    ],
)
def test_submitted_is_not_begun(endings: list[str], said: tuple[int, int, int]) -> None:
    by_key, _ = run([listed("in/a")], [output("in/a", ending) for ending in endings])
    pair = by_key["in/a"]
    assert (pair.attempts, pair.begun, pair.next_attempt) == said
    assert pair.litter() == []


def test_keys_that_begin_with_each_other_are_kept_apart() -> None:
    keys = ["in/a", "in/a b", "in/a.pi10", "in/a.tif", "in/a/b", "in/a/b.tif", "in/a~", "in/aé"]
    done = keys[::2]
    by_key, orphans = run(
        [listed(key) for key in keys], [output(key, Ending.RESULT) for key in done]
    )
    assert {key for key, pair in by_key.items() if pair.state is PairState.RESULT} == set(done)
    assert not orphans


# short keys of few letters: prefixes of each other, around '.' and '/', and long ones
KEYS = st.text("a./ ~é", min_size=1, max_size=5) | st.text("a", min_size=190, max_size=260)


@given(
    st.dictionaries(KEYS, st.sampled_from(["e1", "e2"]), max_size=25),
    st.lists(
        st.tuples(
            KEYS, st.sampled_from([*Ending, "attempt-1", "attempt-2"]),
            st.sampled_from(["e1", "e2"]), st.sampled_from([MODEL, OTHER]),
        ),
        max_size=40,
    ),
)  # fmt: skip
def test_pairing_is_what_a_dictionary_would_say(
    inputs: dict[str, str], outputs: list[tuple[str, str, str, str]]
) -> None:
    named = {output(*entry).name: (entry, output(*entry)) for entry in outputs}
    by_key, orphans = run(
        [listed(key, etag) for key, etag in inputs.items()],
        [entry for _, entry in named.values()],
    )
    assert set(by_key) == set(inputs)
    for key, etag in inputs.items():
        mine = {
            entry[1]
            for entry, _ in named.values()
            if entry[0] == key and entry[2:] == (etag, MODEL)
        }
        assert set(by_key[key].names) == mine
        assert by_key[key].attempts == len(mine & {"attempt-1", "attempt-2"})
    lost = {
        name for name, (entry, _) in named.items()
        if entry[0] not in inputs and entry[3] == MODEL and stem_of(entry[0]) == entry[0]
    }  # fmt: skip
    assert set(orphans) == lost


def test_records_of_an_earlier_content_are_stale() -> None:
    by_key, orphans = run([listed("in/a", "e2")], [output("in/a", Ending.RESULT, "e1")])
    assert by_key["in/a"].state is PairState.MISSING
    assert by_key["in/a"].stale == 1
    assert not orphans


def test_what_is_overruled_is_litter() -> None:
    found = [output("in/a", e) for e in (Ending.RESULT, Ending.FAILURE, Ending.RETRY, "attempt-1")]
    by_key, _ = run([listed("in/a")], found)
    assert sorted(by_key["in/a"].litter()) == sorted(entry.name for entry in found[1:])
    by_key, _ = run([listed("in/a")], found[2:])
    assert by_key["in/a"].litter() == []


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_listing_out_of_order_is_refused(side: str) -> None:
    inputs, outputs = [listed("in/a")], [output("in/a", Ending.RESULT)]
    if side == "input":
        inputs = [listed("in/b"), listed("in/a")]
    else:
        outputs = [output("in/b", Ending.RESULT), *outputs]
    with pytest.raises(SettingError, match=f"the {side} folder out of order"):
        list(pairs(inputs, outputs, MODEL, lambda _: []))


def test_memory_is_bounded_by_a_few_keys() -> None:
    count = 20_000

    def inputs() -> Iterator[Listed]:
        return (listed(f"in/{number:07}.tif") for number in range(count))

    def outputs() -> Iterator[Output]:
        return (output(f"in/{number:07}.tif", Ending.RESULT) for number in range(0, count, 2))

    states: dict[PairState, int] = dict.fromkeys(PairState, 0)
    tracemalloc.start()
    for pair in itertools.islice(pairs(inputs(), outputs(), MODEL, lambda _: []), count):
        states[pair.state] += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert states[PairState.RESULT] == states[PairState.MISSING] == count // 2
    assert peak < 300_000
