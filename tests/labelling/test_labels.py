"""Labels are on the disk at once, and nothing that was said is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.labels import LabelStore, bring_in, verdicts
from pi10_classifier.labelling.sample import Drawn

CLASSES = ("copepod", "detritus")


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    (tmp_path / "validation").mkdir()
    return LabelStore(tmp_path, CLASSES)


def drawn(name: str) -> Drawn:
    return Drawn(0, name, "all", "copepod", "s", "m", "b", "", 1.0, False, 0.1, "part", 0)


def test_the_last_word_counts_and_an_empty_one_takes_back(store: LabelStore) -> None:
    store.add([("p1", "copepod"), ("p2", "copepod"), ("p3", "unknown")], "Anna")
    store.add([("p1", "detritus"), ("p2", "")], "Anna")
    found = {(one.particle_id, one.label) for one in store.read()}
    assert found == {("p1", "detritus"), ("p3", "unknown")}
    assert len(store.path.read_text().splitlines()) == 6, "what was said before is still there"


def test_a_line_that_was_cut_short_is_left_out(store: LabelStore) -> None:
    store.add([("p1", "copepod"), ("p2", "detritus")], "Anna")
    data = store.path.read_bytes()
    store.path.write_bytes(data[:-4])
    assert [one.particle_id for one in store.read()] == ["p1"]


def test_a_torn_line_is_cut_off_before_the_next_is_written(store: LabelStore) -> None:
    """Or the next label would be joined to it, and half a label read as a whole one."""
    store.add([("p1", "copepod"), ("p2", "detritus")], "Anna")
    store.path.write_bytes(store.path.read_bytes()[:-4])
    store.add([("p3", "copepod")], "Anna")
    assert [(one.particle_id, one.label) for one in store.read()] == [
        ("p1", "copepod"), ("p3", "copepod"),
    ]  # fmt: skip


def test_a_file_without_taxa_stays_readable_and_gets_the_column(store: LabelStore) -> None:
    line = "2026-01-01T00:00:00Z,Anna,p1,copepod"
    store.path.write_text(f"time,labeller,particle_id,label\n{line}\n")
    assert [(one.particle_id, one.taxon) for one in store.read()] == [("p1", "")]
    store.add([("p2", "copepod", "Acartia"), ("p3", "detritus")], "Bo")
    assert [(one.particle_id, one.label, one.taxon) for one in store.read()] == [
        ("p1", "copepod", ""), ("p2", "copepod", "Acartia"), ("p3", "detritus", ""),
    ]  # fmt: skip
    lines = store.path.read_text().splitlines()
    assert lines[:2] == ["time,labeller,particle_id,label,taxon,how", line]


def test_a_sheet_that_is_filled_in_by_half_is_taken_by_half(store: LabelStore) -> None:
    given = [("p1", "copepod"), ("p2", "")]
    found = bring_in(store, [drawn("p1"), drawn("p2")], given, "file")
    assert (found.taken, found.blank, found.unknown_labels) == (1, 1, {})


def test_labels_outside_the_scheme_are_refused(store: LabelStore) -> None:
    with pytest.raises(SettingError, match="'krill' is none of copepod, detritus, unknown"):
        store.add([("p1", "krill")], "Anna")
    assert not store.path.exists()


def test_labellers_who_differ_leave_a_particle_without_label(store: LabelStore) -> None:
    store.add([("p1", "copepod"), ("p2", "copepod")], "Anna")
    store.add([("p1", "detritus"), ("p2", "copepod")], "Bo")
    found = verdicts(store.read())
    assert (dict(found.label_of), found.contradicting) == ({"p2": "copepod"}, ("p1",))
    assert verdicts(store.read(), "Bo").label_of == {"p1": "detritus", "p2": "copepod"}


def test_what_is_brought_in_is_taken_or_told(store: LabelStore) -> None:
    given = [("p1", "copepod"), ("p9", "copepod"), ("p2", "krill"), ("p2", "krill")]
    found = bring_in(store, [drawn("p1"), drawn("p2")], given, "file")
    assert (found.taken, found.unknown_ids, found.unknown_labels) == (1, ["p9"], {"krill": 2})
    again = bring_in(store, [drawn("p1")], given[:1], "file")
    assert (again.taken, again.same) == (0, 1)
