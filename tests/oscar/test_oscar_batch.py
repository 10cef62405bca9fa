"""A whole batch against the real S3 server: one result per cruise, whatever is lost or killed.

Workers run in this process, on a folder that imitates the mounted bucket; the same worker as
a process is killed in ``test_oscar_batch_worker`` and in ``test_oscar_local``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import s3_server
import support

from pi10_classifier.classify import Settings, classify
from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.model import read_package
from pi10_classifier.oscar import batch_worker
from pi10_classifier.oscar.batch import Batch, How, Outcome
from pi10_classifier.oscar.batch_flights import Patience
from pi10_classifier.oscar.batch_options import Options
from pi10_classifier.oscar.batch_plan import Message
from pi10_classifier.oscar.batch_units import read_units
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.fdl import Place
from pi10_classifier.oscar.mirror import Mirror
from pi10_classifier.oscar.record import json_bytes
from pi10_classifier.storage import Store

OUT = "results/rapid/"
TABLES = f"{OUT}tables/cruise=rapid/"
BINS = 5


class Killed(BaseException):
    """Ends a coordinator as nothing can catch it."""


@dataclass
class World:
    """A bucket with a cruise in it, and workers that see it."""

    store: Store
    bucket: str
    home: Path
    package: Path
    faults: list[Callable[[Message], None]] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    posts: list[Message] = field(default_factory=list)
    poison: str = ""

    def __post_init__(self) -> None:
        self.whole = Bucket(self.store, Place(self.bucket, ""))
        self.mirror = Mirror(self.whole, self.home / "mnt")

    def post(self, body: str) -> None:
        """The job endpoint: does the range at once."""
        message = Message.parse(body)
        self.posts.append(message)
        if self.faults:
            self.faults.pop(0)(message)
            return
        with self.mirror.attached():
            self.work(message)

    def work(self, message: Message, units: int = 1000) -> None:
        """The worker; ``units`` are those it does before it dies."""
        table = self.mirror.root / self.bucket / OUT / ".pi10-batch/units.jsonl"
        its = [u for _, u in read_units(table, message.at) if u.start < message.end]
        last = next((n for n, u in enumerate(its) if self.poison and self.poison in u.name), 1000)
        alive = its[: min(units, last)]
        environ = {
            "PI10_MODEL": str(self.package), "PI10_JOBS": "1", "PI10_BATCH_BEAT_S": "9",
            "PI10_MOUNT": str(self.mirror.root), **self.environ,
        }  # fmt: skip
        if alive == its:
            batch_worker.main({**environ, "EVENT": message.to_json()})
            return
        if alive:
            part = Message(message.start, alive[-1].end, message.plan, message.at)
            batch_worker.main({**environ, "EVENT": part.to_json()})
        # its last sign, and no other follows
        sign = f"{OUT}.pi10-batch/signs/{message.start}-{message.end}.json"
        self.whole.put(sign, json_bytes({"beat": 2, "done": len(alive), "units": len(its)}))

    def dies(self, after: int) -> Callable[[Message], None]:
        def fault(message: Message) -> None:
            with self.mirror.attached():
                self.work(message, after)

        return fault

    def batch(self, how: How = How(), source: str = "rapid/", out: str = OUT, **more: Any) -> Batch:  # noqa: B008
        settings = Settings(model=self.package, jobs=1, **more)
        package, _ = read_package(self.package)
        where = [Bucket.of(self.store, f"s3://{self.bucket}/{name}") for name in (source, out)]
        return Batch(where[0], where[1], package, settings, how)

    def run(self, how: How = How(report=False), **options: Any) -> Outcome:  # noqa: B008
        chosen = {"workers": 2, "chunk": 2, "poll_s": 0.01, "patience": Patience(0.02, 0.02)}
        return self.batch(how).run(self, lambda: 2, Options(**{**chosen, **options}))

    def results(self) -> dict[str, bytes]:
        """What a batch is to leave, run.json aside, which tells the time."""
        names = [o.name for o in self.whole.outputs(OUT) if "/.pi10-batch/" not in o.name]
        return {n: self.whole.get(n, 2**26) for n in names if not n.endswith("run.json")}


def keep(message: Message) -> None:
    """A job that was accepted and never started."""


def refuse(message: Message) -> None:
    raise InputError(Code.STORAGE_UNAVAILABLE, "no job accepted")


def put(world: World, key: str, data: bytes) -> None:
    world.store.client.put_object(
        bucket_name=world.bucket, object_name=key, data=io.BytesIO(data), length=len(data)
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    home = tmp_path_factory.mktemp("cruise")
    found = {}
    for number in range(BINS):
        begin = support.START + timedelta(hours=6 * number)
        members = support.bin_members(10 + number, begin, number)
        members[support.name_of(900, begin)] = support.particle(1)[:500]
        tar = support.write_tar(home / "a.tar", members).read_bytes()
        found[f"rapid/{begin:%Y-%m-%d}/{begin:%H%M}.tar"] = tar
    found |= {f"rapid/é l+oose/{n}.tif": support.particle(n) for n in range(4)}
    found |= {"rapid/é l+oose/5.tif": b"", "rapid/marker/": b"", "elsewhere/6.tif": b"x"}
    return found


@pytest.fixture
def worlds(
    s3: s3_server.Server, tmp_path: Path, package: Path, files: dict[str, bytes]
) -> Callable[[], World]:
    """Makes worlds with the same cruise, each in a bucket of its own."""
    count = 0

    def make() -> World:
        nonlocal count
        count += 1
        unique = hashlib.sha256(f"{tmp_path}{count}".encode()).hexdigest()[:12]
        s3.client.make_bucket(bucket_name=f"b{unique}")
        world = World(Store(s3.environ()), f"b{unique}", tmp_path / str(count), package)
        for key, data in files.items():
            put(world, key, data)
        return world

    return make


@pytest.fixture
def world(worlds: Callable[[], World]) -> World:
    return worlds()


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
    outcome = world.run(How())
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
    assert world.run(How(resume=True, report=False)).totals == outcome.totals
    assert len(world.posts) == posts
    world.poison = ""
    healed = world.run(How(resume=True, retry_failed=True, report=False))
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
        world.run(How(resume=True, report=False))
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
    outcome = world.run(How(resume=True, report=False))
    assert (outcome.new, outcome.gone, outcome.exit_code) == (2, 2, 3)
    assert len(world.posts) == posts
    outcome = world.run(How(resume=True, relist=True, report=False))
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
            world.run(How(resume=True, relist=True, report=False))
    with pytest.raises(SettingError, match="--relist"):
        world.run(How(resume=True, report=False))
    assert world.run(How(resume=True, relist=True, report=False)).adds_up
    world.whole.delete("rapid/index.txt")
    check_same(world, whole_of(world, s3, tmp_path / "whole"))


def test_a_coordinator_whose_batch_was_listed_anew_removes_nothing(
    world: World, s3: s3_server.Server, tmp_path: Path, files: dict[str, bytes]
) -> None:
    def another(message: Message) -> None:
        put(world, "rapid/2024-06-30/0000.tar", next(iter(files.values())))
        assert world.run(How(resume=True, relist=True, report=False)).adds_up

    world.faults = [another]
    with pytest.raises(SettingError, match="listed anew"):
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


def test_workers_with_other_settings_stop_it(world: World) -> None:
    world.environ = {"PI10_MEASURE": "false"}
    with pytest.raises(SettingError, match=r"a worker cannot do this batch.*measure is True"):
        world.run()
    world.environ = {}
    assert world.run(How(resume=True, report=False)).adds_up


def test_where_no_job_ever_starts_it_ends_and_loses_nothing(world: World) -> None:
    world.faults = [keep] * 40
    with pytest.raises(SettingError, match=r"ranges in a row came to nothing.*no sign of a worker"):
        world.run()
    world.faults = []
    outcome = world.run(How(resume=True, report=False))
    assert outcome.adds_up and "set_aside" not in outcome.to_json()["cruises"]
    assert b"set_aside" not in world.whole.get(f"{TABLES}failures.csv")


def test_a_full_disk_is_no_units_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(SettingError, match=r"came to nothing.*no space left"):
        world.run(attempts=1)
    monkeypatch.undo()
    assert world.run(How(resume=True, report=False)).adds_up
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
    second = world.run(How(resume=True, relist=True, report=False))
    assert second.totals["inputs"] == first.totals["inputs"] + 1
    assert second.totals["skipped"] == first.totals["skipped"] + 1
    put(world, "above/rapid/2024-06-24/1450.tar", world.whole.get("rapid/2024-06-24/1450.tar"))
    options = Options(workers=1, poll_s=0.01)
    below = world.batch(How(report=False), "above/rapid/", "results/below/")
    assert below.run(world, lambda: 1, options).units == 1
    assert world.whole.get("above/rapid/index.txt").startswith(b"/mnt/")
    above = world.batch(How(report=False), "above/", "results/above/")
    outcome = above.run(world, lambda: 1, options)
    assert (outcome.units, outcome.new, set(outcome.cruises)) == (1, 0, {"rapid"})


def test_a_file_that_the_index_would_replace_is_kept(world: World) -> None:
    put(world, "rapid/index.txt", b"what these folders hold")
    with pytest.raises(SettingError, match=r"rapid/index\.txt is no index.*move or rename it"):
        world.run()
    assert world.whole.get("rapid/index.txt") == b"what these folders hold"


def test_each_worker_gets_a_range_whatever_the_chunk(world: World) -> None:
    said: list[str] = []
    at_first: list[int] = []
    job = world.batch(How(report=False))
    job._say = said.append
    world.faults = [keep, keep]
    job.run(world, lambda: 2, Options(chunk=64, poll_s=0.01, patience=Patience(0.02, 0.02)),
            lambda reached: at_first.append(reached.ranges))  # fmt: skip
    assert (
        at_first[0] == 2
        and said.count("workers at a time: 2, for which there is room (or give --workers)") == 1
    )
    first, second = world.posts[:2]
    assert first.end == second.start


def test_what_cannot_be_is_refused(world: World) -> None:
    with pytest.raises(SettingError, match="another bucket"):
        Batch(world.whole, Bucket.of(world.store, "s3://other/x/"), *_model(world), How())
    with pytest.raises(SettingError, match="lies under"):
        world.batch(out="rapid/results/")
    with pytest.raises(SettingError, match="lies under"):
        world.batch(source="")
    with pytest.raises(SettingError, match="whole bucket"):
        world.batch(out="")
    with pytest.raises(SettingError, match="holds no objects"):
        world.batch(source="nothing/").run(world, lambda: 1, Options())
    world.run()
    with pytest.raises(SettingError, match="already holds a batch; add --resume"):
        world.run()
    with pytest.raises(SettingError, match=r"um_per_px was 10\.0, is 9\.0"):
        world.batch(How(resume=True), um_per_px=9.0).run(world, lambda: 1, Options())
    with pytest.raises(SettingError, match="inputs was"):
        world.batch(How(resume=True), source="elsewhere/").run(world, lambda: 1, Options())


def _model(world: World) -> Any:
    return read_package(world.package)[0], Settings(model=world.package)
