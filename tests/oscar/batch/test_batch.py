"""A whole batch against the real S3 server: one result per cruise, whatever is lost or killed.

Workers run in this process, on a folder that imitates the mounted bucket; the same worker as
a process is killed in ``test_oscar_batch_worker`` and in ``test_oscar_local``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import s3_server
import support
from batch_world import BINS, OUT, TABLES, Killed, World, keep, put, refuse

from pi10_classifier.classify import classify
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.oscar.batch.batch import BatchOptions
from pi10_classifier.oscar.batch.plan import Message
from pi10_classifier.oscar.bucket import Bucket


def whole_of(world: World, s3: s3_server.Server, out: Path) -> Path:
    """`pi10 classify` on the same cruise, before an index lies in it."""
    inputs = [f"s3://{world.bucket}/rapid/"]
    classify(inputs, out, Settings(model=world.package, jobs=2), environ=s3.environ())
    return out


def check_same(world: World, whole: Path) -> None:
    """Tables and parts are the same bytes; they lie in other folders."""
    found = world.results()
    for name in support.TABLES:
        assert found[f"{TABLES}{name}"] == (whole / name).read_bytes(), name
    theirs = {path.read_bytes() for path in (whole / "predictions.parquet").iterdir()}
    mine = {data for name, data in found.items() if name.endswith(".parquet")}
    assert mine == theirs
    run = json.loads(world.whole.get(f"{TABLES}run.json"))
    theirs_run = json.loads((whole / "run.json").read_text("utf-8"))
    for key in ("totals", "failures_by_code", "results_by_class", "warnings", "exit_code"):
        assert run[key] == theirs_run[key], key
    assert not [name for name in found if "/signs/" in name or name.endswith(".tmp")]


def test_its_tables_are_those_of_pi10_classify(
    world: World, s3: s3_server.Server, tmp_path: Path
) -> None:
    whole = whole_of(world, s3, tmp_path / "whole")
    outcome = world.run(BatchOptions())
    assert outcome.adds_up and outcome.exit_code == 3
    assert (outcome.units, outcome.merged, outcome.new, outcome.gone) == (BINS + 1, BINS + 1, 0, 0)
    assert outcome.totals["inputs"] == outcome.cruises["rapid"]["inputs"]
    check_same(world, whole)
    page = world.whole.get(f"{TABLES}report.html", 2**26)
    assert page.startswith(b"<!doctype html>") or b"<html" in page[:200]
    # one data set, partitioned by cruise and day, for any reader of Parquet
    world.mirror.pull()
    data = ds.dataset(
        world.mirror.root / world.bucket / OUT / "predictions.parquet", partitioning="hive"
    )
    table = data.to_table(columns=["cruise", "date", "member"]).to_pylist()
    assert len(table) == outcome.totals["results"]
    days = {str(row["date"]) for row in table}
    assert days == {"2024-06-24", "2024-06-25", "None"}
    lines = world.whole.get("rapid/index.txt").decode().splitlines()
    assert lines[0] == f"/mnt/{world.bucket}/rapid/2024-06-24/1450.tar"
    assert all(message.start < message.end for message in world.posts)


def test_lost_refused_and_dying_ranges_are_sent_again(
    world: World, s3: s3_server.Server, tmp_path: Path
) -> None:
    whole = whole_of(world, s3, tmp_path / "whole")
    world.faults = [world.dies(1), keep, refuse, world.dies(0), keep]
    outcome = world.run()
    assert outcome.adds_up and outcome.ranges_lost == 4
    check_same(world, whole)


def test_a_unit_that_kills_its_workers_is_set_aside_and_can_be_tried_again(
    world: World, s3: s3_server.Server, tmp_path: Path
) -> None:
    whole = whole_of(world, s3, tmp_path / "whole")
    world.poison = "2024-06-25/0250.tar"
    outcome = world.run(chunk=4)
    assert outcome.adds_up and outcome.exit_code == 3
    rows = world.whole.get(f"{TABLES}failures.csv").decode().splitlines()
    [aside] = [row for row in rows if "set_aside" in row]
    assert "rapid/2024-06-25/0250.tar" in aside and "3 times" in aside
    # it cost nobody else
    assert outcome.totals["results"] == 4 + sum(10 + n for n in range(BINS) if n != 2)
    posts = len(world.posts)
    assert world.run(BatchOptions(resume=True, report=False)).totals == outcome.totals
    assert len(world.posts) == posts
    world.poison = ""
    healed = world.run(BatchOptions(resume=True, retry_failed=True, report=False))
    assert len(world.posts) == posts + 1
    assert healed.adds_up
    check_same(world, whole)


def test_a_block_that_is_set_aside_counts_each_of_its_images(world: World) -> None:
    world.poison = "oose/#"
    outcome = world.run(attempts=1)
    assert outcome.adds_up
    rows = world.whole.get(f"{TABLES}failures.csv").decode().splitlines()
    aside = [row.split(",")[1] for row in rows if "set_aside" in row]
    assert aside == [f"é l+oose/{n}.tif" for n in (0, 1, 2, 3, 5)]


@pytest.mark.slow
# the write that kills may be one of the thread that writes the mounted folder back
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_coordinator_killed_at_any_write(
    worlds: Callable[[], World], s3: s3_server.Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = worlds()
    whole = whole_of(first, s3, tmp_path / "whole")

    def writes(world: World, limit: int) -> Iterator[int]:
        """Counts this store's writes, the workers' too; the one beyond the limit kills."""
        count = 0

        def counting(do: Any) -> Any:
            def counted(*args: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count > limit:
                    raise Killed
                return do(*args, **options)

            return counted

        client = world.store.client
        for name in ("put_object", "fput_object", "remove_object"):
            monkeypatch.setattr(client, name, counting(getattr(client, name)))
        yield 0
        monkeypatch.undo()
        yield count

    counter = writes(first, 10**9)
    next(counter)
    first.run()
    total = next(counter)
    check_same(first, whole)
    assert total > 30
    # the address of the bucket is in the tables: so kill in one bucket, at many points in turn
    world = first
    for limit in range(0, total, max(1, total // 5)):
        for output in list(world.whole.outputs("results/")):
            world.whole.delete(output.name)
        world.whole.delete("rapid/index.txt")
        counter = writes(world, limit)
        next(counter)
        with pytest.raises(Killed):
            world.run()
        next(counter)
        world.faults.clear()
        done_before = {n for n in world.results() if n.endswith(".parquet")}
        world.posts.clear()
        world.run(BatchOptions(resume=True, report=False))
        check_same(world, whole)
        # whatever had a part was not sent again, but in a range that was on its way
        assert len(world.posts) <= BINS + 1 - len(done_before) + 2


def test_new_and_changed_inputs_are_told_and_done_by_relisting(
    world: World, s3: s3_server.Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    assert world.run().new == 0
    posts = len(world.posts)
    names = [name for name in files if name.endswith(".tar")]
    put(world, "rapid/2024-06-30/0000.tar", files[names[0]])
    put(world, names[1], files[names[2]])
    world.store.client.remove_object(bucket_name=world.bucket, object_name=names[3])
    outcome = world.run(BatchOptions(resume=True, report=False))
    assert (outcome.new, outcome.gone, outcome.exit_code) == (2, 2, 3)
    assert len(world.posts) == posts
    outcome = world.run(BatchOptions(resume=True, relist=True, report=False))
    assert (outcome.new, outcome.gone) == (0, 0)
    assert sum(m.end - m.start for m in world.posts[posts:]) == 2
    world.whole.delete("rapid/index.txt")
    check_same(world, whole_of(world, s3, tmp_path / "whole"))


def test_a_relisting_that_is_cut_short_is_not_mixed_with_the_plan_before(
    world: World, s3: s3_server.Server, tmp_path: Path, files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    world.run()
    put(world, "rapid/2024-06-30/0000.tar", next(iter(files.values())))
    whole_put = Bucket.put

    def killed(self: Bucket, name: str, data: bytes) -> None:
        if name.endswith("plan.json"):
            raise Killed
        whole_put(self, name, data)

    with monkeypatch.context() as killing:
        killing.setattr(Bucket, "put", killed)
        with pytest.raises(Killed):
            world.run(BatchOptions(resume=True, relist=True, report=False))
    with pytest.raises(SettingError, match="--relist"):
        world.run(BatchOptions(resume=True, report=False))
    assert world.run(BatchOptions(resume=True, relist=True, report=False)).adds_up
    world.whole.delete("rapid/index.txt")
    check_same(world, whole_of(world, s3, tmp_path / "whole"))


def test_a_coordinator_whose_batch_was_listed_anew_removes_nothing(
    world: World, s3: s3_server.Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    def another(message: Message) -> None:
        put(world, "rapid/2024-06-30/0000.tar", next(iter(files.values())))
        assert world.run(BatchOptions(resume=True, relist=True, report=False)).adds_up

    world.faults = [another]
    with pytest.raises(SettingError, match="listed again"):
        world.run()
    world.whole.delete("rapid/index.txt")
    check_same(world, whole_of(world, s3, tmp_path / "whole"))


def test_a_mount_that_lags_behind_is_waited_for(
    world: World, s3: s3_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = whole_of(world, s3, tmp_path / "whole")
    tar = world.mirror.root / world.bucket / "rapid/2024-06-24/1450.tar"
    work = world.work
    cut: list[bytes] = []

    def lagging(message: Message, units: int = 1000) -> None:
        if not cut:
            cut.append(tar.read_bytes())
            world.mirror._known.clear()  # so that the cut file is no change of the worker's
            monkeypatch.setattr(world.mirror, "push", lambda **_: None)
            tar.write_bytes(cut[0][:512])
            work(message)
            tar.write_bytes(cut[0])
            monkeypatch.undo()
            return
        work(message)

    world.work = lagging  # type: ignore[method-assign]
    outcome = world.run()
    assert cut and outcome.adds_up
    check_same(world, whole)
