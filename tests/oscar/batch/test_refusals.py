"""A batch that cannot go on, or may not begin: nothing is lost, and it says why."""

from __future__ import annotations

import pytest
from batch_world import TABLES, World, keep, model_and_settings, put

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.batch.batch import Batch, BatchOptions
from pi10_classifier.oscar.batch.in_flight import Patience
from pi10_classifier.oscar.batch.options import Options
from pi10_classifier.oscar.bucket import Bucket


def test_workers_with_other_settings_stop_it(world: World) -> None:
    world.environ = {"PI10_MEASURE": "false"}
    with pytest.raises(SettingError, match=r"a worker cannot run this batch.*measure is True"):
        world.run()
    world.environ = {}
    assert world.run(BatchOptions(resume=True, report=False)).adds_up


def test_where_no_job_ever_starts_it_ends_and_loses_nothing(world: World) -> None:
    world.faults = [keep] * 40
    with pytest.raises(SettingError, match=r"ranges in a row failed.*no heartbeat of a worker"):
        world.run()
    world.faults = []
    outcome = world.run(BatchOptions(resume=True, report=False))
    assert outcome.adds_up and "set_aside" not in outcome.to_json()["cruises"]
    assert b"set_aside" not in world.whole.get(f"{TABLES}failures.csv")


def test_a_full_disk_is_no_units_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(SettingError, match=r"ranges in a row failed.*no space left"):
        world.run(attempts=1)
    monkeypatch.undo()
    assert world.run(BatchOptions(resume=True, report=False)).adds_up
    assert b"set_aside" not in world.whole.get(f"{TABLES}failures.csv")


def test_where_nothing_fits_it_says_so_before_any_range(world: World) -> None:
    def full() -> int:
        raise SettingError("no worker fits")

    with pytest.raises(SettingError, match="no worker fits"):
        world.batch().run(world, full, Options(poll_s=0.01))
    assert world.posts == []


def test_an_index_of_a_batch_is_no_input_of_the_next(world: World) -> None:
    first = world.run()
    put(world, "rapid/notes/index.txt", b"what these folders hold")
    put(world, "rapid/copied/index.txt", b"/mnt/other/2024/1450.tar\n")
    second = world.run(BatchOptions(resume=True, relist=True, report=False))
    assert second.totals["inputs"] == first.totals["inputs"] + 1
    assert second.totals["skipped"] == first.totals["skipped"] + 1
    put(world, "above/rapid/2024-06-24/1450.tar", world.whole.get("rapid/2024-06-24/1450.tar"))
    options = Options(workers=1, poll_s=0.01)
    below = world.batch(BatchOptions(report=False), "above/rapid/", "results/below/")
    assert below.run(world, lambda: 1, options).units == 1
    assert world.whole.get("above/rapid/index.txt").startswith(b"/mnt/")
    above = world.batch(BatchOptions(report=False), "above/", "results/above/")
    outcome = above.run(world, lambda: 1, options)
    assert (outcome.units, outcome.new, set(outcome.cruises)) == (1, 0, {"rapid"})


def test_a_file_that_the_index_would_replace_is_kept(world: World) -> None:
    put(world, "rapid/index.txt", b"what these folders hold")
    with pytest.raises(
        SettingError, match=r"rapid/index\.txt is not a batch's index.*move or rename it"
    ):
        world.run()
    assert world.whole.get("rapid/index.txt") == b"what these folders hold"


def test_each_worker_gets_a_range_whatever_the_chunk(world: World) -> None:
    said: list[str] = []
    at_first: list[int] = []
    job = world.batch(BatchOptions(report=False))
    job._emit = said.append
    world.faults = [keep, keep]
    job.run(world, lambda: 2, Options(chunk=64, poll_s=0.01, patience=Patience(0.02, 0.02)),
            lambda reached: at_first.append(reached.ranges))  # fmt: skip
    assert (
        at_first[0] == 2
        and said.count("workers at a time: 2, as many as fit (or set --workers)") == 1
    )
    first, second = world.posts[:2]
    assert first.end == second.start


def test_what_cannot_be_is_refused(world: World) -> None:
    with pytest.raises(SettingError, match="another bucket"):
        Batch(
            world.whole,
            Bucket.of(world.store, "s3://other/x/"),
            *model_and_settings(world),
            BatchOptions(),
        )
    with pytest.raises(SettingError, match="is inside"):
        world.batch(out="rapid/results/")
    with pytest.raises(SettingError, match="is inside"):
        world.batch(source="")
    with pytest.raises(SettingError, match="whole bucket"):
        world.batch(out="")
    with pytest.raises(SettingError, match="holds no objects"):
        world.batch(source="nothing/").run(world, lambda: 1, Options())
    world.run()
    with pytest.raises(SettingError, match="already holds a batch; add --resume"):
        world.run()
    with pytest.raises(SettingError, match=r"um_per_px was 10\.0, is 9\.0"):
        world.batch(BatchOptions(resume=True), um_per_px=9.0).run(world, lambda: 1, Options())
    with pytest.raises(SettingError, match="inputs was"):
        world.batch(BatchOptions(resume=True), source="elsewhere/").run(world, lambda: 1, Options())
