"""Sorting a run: whole clusters get labels that models may use and estimates may not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import embedded_run
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.embedding.sort_session import SortedMeanwhileError, SortSession, View
from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import estimate_run
from pi10_classifier.labelling.labelled import read_labelled, sample_labels
from pi10_classifier.labelling.labels import SORTED, LabelStore
from pi10_classifier.labelling.session import Choice, Session
from pi10_classifier.labelling.suggestions import read_suggestions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> embedded_run.EmbeddedRun:
    return embedded_run.build(tmp_path_factory.mktemp("sort"))


@pytest.fixture
def run(made: embedded_run.EmbeddedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "run"))


@contextmanager
def sorting(run: Path, **more: Any) -> Iterator[SortSession]:
    with SortSession.open(run, "Anna", **({"most": 5_000} | more)) as session:
        yield session


def say(session: SortSession, kind: str, **fields: Any) -> View:
    return session.answer(kind, session.view().step, fields)


def kinds(session: SortSession, rows: Any, truth: dict[str, str]) -> set[str]:
    return {truth[session.particles.places[row].particle_id] for row in rows}


def test_a_person_names_all_clusters_and_comes_back_later(
    run: Path, made: embedded_run.EmbeddedRun
) -> None:
    with sorting(run) as session:
        view = say(session, "round")
        assert (view.stage, view.of, view.left) == ("seed", 4, 240)
        while view.stage != "end":
            (kind,) = kinds(session, view.rows, made.truth)
            view = say(session, "fits")
            while view.stage == "grow":
                alike = kinds(session, view.rows, made.truth) == {kind}
                view = say(session, "yes" if alike else "no")
            view = say(session, "name", label=kind, taxon=" Acartia " if kind == "copepod" else "")
        assert dict(view.names) == {
            "detritus": 120, "copepod": 60, "noncopepod": 40, "artefact": 20
        }  # fmt: skip
        assert not view.finished  # clusters may hide in the rest, until a round finds none
        assert say(session, "round").finished
    labels = LabelStore(run, ()).read()
    assert {one.how for one in labels} == {SORTED}
    assert {one.taxon for one in labels if one.label == "copepod"} == {"Acartia"}
    assert all(made.truth[one.particle_id] == one.label for one in labels)
    assert {entry.why for entry in read_suggestions(run)} == {"sorted"}
    known = read_labelled(run)  # what adapt, train and dataset take
    assert len(known.particles) == 240 and not known.lost
    with sorting(run) as session:
        assert session.view().finished and session.view().left == 0


def test_a_cluster_that_was_left_is_not_asked_for_again(run: Path) -> None:
    with sorting(run) as session:
        assert say(session, "round").of == 4
        say(session, "mixed")
        say(session, "mixed")
        for label in ("noncopepod", "artefact"):
            view = say(session, "name", label=label)
        assert (view.stage, view.finished) == ("end", False)
        view = say(session, "round")
        assert (view.stage, view.of, view.finished) == ("end", 0, True)
        assert say(session, "undo").stage == "seed"  # the last cluster waits for a name again


def test_no_estimate_uses_the_names_of_clusters(run: Path) -> None:
    with sorting(run) as session:
        say(session, "round")
        say(session, "name", label="copepod")  # 120 detritus, and in the sample drawn later
    with pytest.raises(SettingError, match="has no sample"):
        estimate_run(run)
    _, sample = draw(run, 120)
    named = {one.particle_id for one in LabelStore(run, ()).read()}
    in_sample = [particle for particle in sample if particle.particle_id in named]
    assert in_sample and not sample_labels(run).label_of
    done = estimate_run(run)
    assert done.sorted == len(in_sample) and all(row.labelled == 0 for row in done.rows)
    said = CliRunner().invoke(pi10, ["validate", "estimate", str(run)])
    assert said.exit_code == 3 and "which is no judgement of each" in said.stderr
    # the labelling page asks for them anew, and what is said there counts
    session_ = Session.open(run)
    assert session_.labels_of("Anna") == {} and session_.next_unlabelled("Anna") == 0
    reached = sample[: in_sample[0].order + 1]  # in the order of the sample, as the page asks
    session_.put("Anna", [Choice(particle.particle_id, "detritus") for particle in reached])
    assert set(sample_labels(run).label_of) == {particle.particle_id for particle in reached}
    assert estimate_run(run).sorted == len(in_sample) - 1


def test_the_sample_and_what_has_a_label_are_not_sorted(run: Path) -> None:
    _, sample = draw(run, 60)
    own = {particle.particle_id for particle in sample}
    other = next(
        row["particle_id"] for row in support.rows_of(run) if row["particle_id"] not in own
    )
    LabelStore(run, support.CLASSES).add([(other, "detritus")], "Ben")
    with sorting(run) as session:
        view = say(session, "round")
        seen: set[int] = set()
        while view.stage != "end":
            seen |= set(view.rows)
            view = say(session, "name", label="detritus")
        shown = {session.particles.places[row].particle_id for row in seen}
        assert shown and not shown & {*own, other}
    named = {one.particle_id for one in LabelStore(run, ()).read() if one.how == SORTED}
    assert named and not named & {*own, other}


def test_taking_a_name_back_takes_its_labels_back(run: Path) -> None:
    with sorting(run) as session:
        first = say(session, "round")
        say(session, "out", row=first.rows[3])
        view = say(session, "name", label="unknown")
        assert view.names == {"unknown": 119} and len(LabelStore(run, ()).read()) == 119
        view = say(session, "undo")
        assert (view.rows, view.out) == (first.rows, (first.rows[3],)) and not view.names
        assert LabelStore(run, ()).read() == [] and read_suggestions(run) == []
        say(session, "undo")
        with pytest.raises(SettingError, match="no answer to take back"):
            say(session, "undo")


def test_killed_between_labels_and_journal_the_name_holds(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses the line of the journal: the labels are there already."""
    with sorting(run) as session:
        say(session, "round")
        with monkeypatch.context() as patch:
            patch.setattr(type(session._journal), "add", full_disk)
            with pytest.raises(OutputError):
                say(session, "name", label="detritus")
        assert session.view().names == {}
    with sorting(run) as session:
        assert session.view().names == {"detritus": 120} and session.view().cluster == 2
        with monkeypatch.context() as patch:
            patch.setattr(session.store, "add", full_disk)
            with pytest.raises(OutputError):
                say(session, "undo")
    with sorting(run) as session:  # the taking back is finished
        assert session.view().names == {} and LabelStore(run, ()).read() == []


def full_disk(*_: object) -> None:
    raise OutputError(Code.DISK_FULL, "the disk is full")


def test_wrong_answers_change_nothing(run: Path) -> None:
    with sorting(run) as session:
        view = say(session, "round")
        for kind, fields in (
            ("name", {"label": "whale"}), ("name", {}), ("out", {"row": 10**6}),
            ("out", {"row": "3"}), ("yes", {}), ("dance", {}), ("round", {}),
        ):  # fmt: skip
            with pytest.raises(SettingError):
                say(session, kind, **fields)
            assert session.view() == view
        with pytest.raises(SortedMeanwhileError):
            session.answer("fits", view.step - 1, {})
        for row in view.rows:
            say(session, "out", row=row)
    with sorting(run) as session:
        assert set(session.view().out) == set(view.rows)
    for wrong in ({"most": 2}, {"least": 1}, {"most": 60_000}):
        with pytest.raises(SettingError), sorting(run, **wrong):
            pass
    with pytest.raises(SettingError, match="particles was 240, is 100"), sorting(run, most=100):
        pass
    with sorting(run, most=100, again=True) as session:
        assert session.view().left == 100 and session.view().step == 0


def test_features_of_other_particles_are_refused(run: Path) -> None:
    parts = sorted((run / "features.parquet").iterdir())
    parts[0].replace(run / "kept")
    shutil.copy(parts[1], parts[0])
    with pytest.raises(SettingError, match="not of the particles of"), sorting(run):
        pass
    shutil.rmtree(run / "features.parquet")
    with pytest.raises(SettingError, match=r"has no features.*pi10 embed"), sorting(run):
        pass
