"""The ledger: all or nothing, and one with the parts on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.errors import OutputError, SettingError
from pi10_classifier.watch.ledger import Counts, Entry, Ledger

COUNTS: Counts = {("pia7.2024-06-24.1450", "2024-06-24T14:50:00Z", "copepod"): 2}


def entry(number: int, names: str, counts: Counts = COUNTS) -> Entry:
    return Entry(number, f"part-{number}", [(n, "v", "r") for n in names], 0, 0, counts)


def images(ledger: Ledger) -> int:
    return int(ledger.ask("select coalesce(sum(count), 0) from images")[0][0])


def test_publishing_that_fails_enters_nothing(ledger: Ledger) -> None:
    def fail() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        ledger.enter(entry(1, "ab"), fail)
    assert ledger.versions_of(["a", "b"]) == {}
    assert images(ledger) == 0
    ledger.enter(entry(1, "ab"), lambda: None)
    assert ledger.versions_of(["a", "b", "c"]) == {"a": "v", "b": "v"}
    assert ledger.totals() == {"r": 2}
    assert ledger.next_part() == 2


def test_part_that_is_gone_is_to_be_done_again(ledger: Ledger) -> None:
    ledger.enter(entry(1, "ab"), lambda: None)
    ledger.enter(entry(2, "bc"), lambda: None)
    assert ledger.ask("select name, part from superseded") == [("b", 1)]
    assert ledger.reconcile_parts({"part-2", "stray"}) == {"stray"}
    assert ledger.versions_of(["a", "b", "c"]) == {"b": "v", "c": "v"}
    assert images(ledger) == 2
    assert ledger.ask("select * from superseded") == []
    assert ledger.next_part() == 3  # never a name twice


def test_parts_of_others_are_refused(ledger: Ledger) -> None:
    ledger.enter(entry(1, "ab"), lambda: None)
    with pytest.raises(SettingError, match="2 parts in its output folder"):
        ledger.reconcile_parts({"part-1", "x", "y"})
    assert ledger.versions_of(["a"]) == {"a": "v"}


def test_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "l")
    first.enter(entry(7, "a"), lambda: None)
    first.close()
    second = Ledger(tmp_path / "l")
    assert second.id == first.id
    assert second.versions_of(["a"]) == {"a": "v"}
    assert second.next_part() == 8
    second.close()


def test_many_names(ledger: Ledger) -> None:
    names = [f"{n:05}" for n in range(3000)]
    made = Entry(1, "part-1", [(n, "v", "r") for n in names], 0, 0, {})
    ledger.enter(made, lambda: None)
    assert len(ledger.versions_of([*names, "x"])) == 3000


def test_file_that_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(OutputError, match="check the disk"):
        Ledger(tmp_path / "l")
