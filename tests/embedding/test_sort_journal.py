"""The journal: what is confirmed is on the disk, and a torn line costs nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.embedding.sort_journal import SortJournal
from pi10_classifier.errors import SettingError

ABOUT = {"labeller": "Anna", "particles": 3}


def test_events_come_back_and_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    with SortJournal(tmp_path, ABOUT) as journal:
        assert journal.read() == []
        for number in range(3):
            journal.add({"kind": "out", "row": number})
        journal.path.write_bytes(journal.path.read_bytes()[:-3])
    with SortJournal(tmp_path, ABOUT) as journal:
        assert [event["row"] for event in journal.read()] == [0, 1]
        journal.add({"kind": "yes"})
        assert [event["kind"] for event in journal.read()] == ["out", "out", "yes"]


def test_another_sorting_another_program_and_damage_are_refused(tmp_path: Path) -> None:
    with SortJournal(tmp_path, ABOUT) as journal:
        journal.add({"kind": "yes"})
        with pytest.raises(SettingError, match="another program"), SortJournal(tmp_path, ABOUT):
            pass
    with SortJournal(tmp_path, ABOUT | {"labeller": "Ben"}) as journal:
        with pytest.raises(SettingError, match=r"labeller was Anna, is Ben.*--again"):
            journal.read()
        kept = journal.set_aside()
        assert kept is not None and kept.name == "sorting-1.jsonl" and journal.read() == []
        journal.path.write_text("{}\nnonsense\n")
        with pytest.raises(SettingError, match="damaged"):
            journal.read()
