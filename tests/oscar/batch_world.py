"""Support for tests: a bucket with a cruise in it, and workers that see it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.classify import Settings
from pi10_classifier.errors import Code, InputError
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


def model_and_settings(world: World) -> Any:
    return read_package(world.package)[0], Settings(model=world.package)
