"""A labelling session: what comes next, what is taken back, two labellers, the density so far."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from pi10_classifier.classify import Settings, classify
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.session import ChangedMeanwhileError, Choice, Session


@pytest.fixture(scope="module")
def drawn(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("session")
    shutil.copytree(cruise / "2024-06-24", home / "data")
    classify([str(home / "data")], home / "out", Settings(model=package, jobs=2))
    draw(home / "out", 100)
    return home / "out"


@pytest.fixture
def run(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "out"))


@pytest.fixture
def session(run: Path) -> Session:
    return Session.open(run)


def label(session: Session, who: str, orders: range, name: str = "detritus") -> None:
    session.put(who, [Choice(session.sample[at].particle_id, name) for at in orders])


def test_the_sample_is_gone_through_in_its_order(session: Session) -> None:
    assert session.problems == {}
    assert session.next_unlabelled("Anna") == 0
    label(session, "Anna", range(3))
    assert session.next_unlabelled("Anna") == 3
    assert session.next_unlabelled("Anna", after=3) == 4, "3 is skipped"
    assert session.next_unlabelled("Anna", after=99) == 3, "and comes again at the end"
    label(session, "Anna", range(3, 100))
    assert session.next_unlabelled("Anna") is None
    assert session.next_unlabelled("Bo") == 0
    assert session.reached("Anna").labelled == session.reached("Anna").pictured == 100


def test_what_was_said_before_holds_again(session: Session) -> None:
    first = session.sample[0].particle_id
    session.put("Anna", [Choice(first, "copepod", "Acartia")])
    given = [Choice(first, "detritus")]
    former = session.put("Anna", given)
    assert former == [Choice(first, "copepod", "Acartia")]
    session.undo("Anna", given, former)
    assert (session.labels_of("Anna")[first].label, session.labels_of("Anna")[first].taxon) == (
        "copepod", "Acartia",
    )  # fmt: skip
    session.put("Anna", [Choice(first, "unknown")])
    with pytest.raises(ChangedMeanwhileError, match="another window"):
        session.undo("Anna", given, former)
    assert session.labels_of("Anna")[first].label == "unknown"


def test_two_at_once_lose_nothing(run: Path) -> None:
    """Two programs on one run, and in each two windows."""
    sessions = [Session.open(run), Session.open(run)]

    def work(session: Session, who: str) -> None:
        for at in range(20):
            label(session, who, range(at, at + 1))

    threads = [
        threading.Thread(target=work, args=(session, f"{who}{number}"))
        for number, session in enumerate(sessions) for who in ("Anna", "Bo")
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        assert session.labellers() == ["Anna0", "Anna1", "Bo0", "Bo1"]
        assert all(len(session.labels_of(who)) == 20 for who in session.labellers())
    assert len((run / "validation/labels.csv").read_text().splitlines()) == 81


def test_labellers_see_each_other_only_where_both_have_judged(session: Session) -> None:
    label(session, "Anna", range(10))
    label(session, "Bo", range(5, 8))
    label(session, "Bo", range(8, 12), "copepod")
    assert (
        session.labels_of("Bo").keys().isdisjoint(session.sample[at].particle_id for at in range(5))
    )
    differing = session.disagreements("Bo")
    assert set(differing) == {session.sample[8].particle_id, session.sample[9].particle_id}
    assert {name for others in differing.values() for name in others} == {"Anna"}
    found = session.agreements("Anna")["Bo"]
    assert (found.particles, found.same) == (5, 3)


def test_the_density_comes_once_there_are_labels_enough_and_gets_its_past(
    session: Session,
) -> None:
    assert all(row.per_litre is None and "too few" in row.note
               for row in session.density("Anna", "all"))  # fmt: skip
    label(session, "Anna", range(100))
    label(session, "Bo", range(100), "copepod")  # which does not count for Anna
    rows = {row.label: row for row in session.density("Anna", "all")}
    assert rows["detritus"].labelled == 100
    assert rows["detritus"].publishable
    assert rows["copepod"].per_litre == 0
    past = list(session.history("Anna", "all"))
    numbers = [rows[0].labelled for rows in past]
    assert numbers == sorted(numbers)
    assert 0 < numbers[0] < numbers[-1] < 100
    with pytest.raises(SettingError, match="stratum 'x' is none of all"):
        session.density("Anna", "x")


def test_nothing_is_written_of_what_does_not_fit(session: Session, run: Path) -> None:
    first = session.sample[0].particle_id
    for who, choice, message in (
        ("Anna", Choice("gone", "copepod"), "not in the sample"),
        ("Anna", Choice(first, "krill"), "'krill' is none of"),
        (" ", Choice(first, "copepod"), "has no name"),
    ):
        with pytest.raises(SettingError, match=message):
            session.put(who, [choice])
    assert not session.store.path.exists()
    draw(run, 80)
    with pytest.raises(SettingError, match="drawn again meanwhile"):
        session.put("Anna", [Choice(first, "copepod")])


def test_a_run_that_is_gone_has_not_lost_its_labels(session: Session, run: Path) -> None:
    first = Choice(session.sample[0].particle_id, "copepod")
    session.put("Anna", [first])
    run.rename(run.with_name("away"))
    for ask in (
        lambda: session.put("Anna", [first]),
        lambda: session.labels_of("Anna"),
        lambda: session.density("Anna", session.sample[0].stratum),
    ):
        with pytest.raises(SettingError, match="was moved or deleted meanwhile; put it back"):
            ask()
    run.with_name("away").rename(run)
    assert [*session.labels_of("Anna")] == [first.particle_id]


def test_particles_without_pixels_say_why_and_cannot_be_judged(run: Path, drawn: Path) -> None:
    data = drawn.parent / "data"
    moved = data.rename(drawn.parent / "moved")
    try:
        session = Session.open(run)
        assert len(session.problems) == 100
        first = session.sample[0].particle_id
        assert "--moved" in session.problems[first]
        with pytest.raises(SettingError, match="has no picture"):
            session.put("Anna", [Choice(first, "copepod")])
        assert session.next_unlabelled("Anna", after=5) == 6, "shown as such"
        assert session.next_unlabelled("Anna") is None
        assert session.reached("Anna").without_picture == 100
        assert Session.open(run, moved={str(data): str(moved)}).problems == {}
    finally:
        moved.rename(data)


def test_a_sample_of_another_model_or_run_is_refused(run: Path) -> None:
    design = json.loads((run / "validation/design.json").read_text())
    other = {**design, "model_sha256": "0" * 64}
    (run / "validation/design.json").write_text(json.dumps(other))
    with pytest.raises(SettingError, match="results of another model, or of another graph of it"):
        Session.open(run)
    (run / "validation/design.json").write_text(json.dumps(design))
    parts = sorted((run / "predictions.parquet").glob("*.parquet"))
    shutil.copy(parts[-1], parts[0])
    with pytest.raises(SettingError, match=r"drawn from another run|has changed since"):
        Session.open(run)
