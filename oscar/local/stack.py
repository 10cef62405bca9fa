"""Runs the whole OSCAR stack on one machine: S3, endpoint, faas-supervisor, script.

It reads the same FDL files as a cluster. Only the keys image, CPU and memory are ignored here.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from minio import Minio
from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.oscar.local import supervisor
from pi10_classifier.oscar.local.endpoint import Jobs, receiver
from pi10_classifier.oscar.local.faults import Faults
from pi10_classifier.oscar.local.mounted_bucket import MountedBucket
from pi10_classifier.oscar.local.s3_gateway import Webhook, free_port, gateway, require_free
from pi10_classifier.oscar.local.supervisor import Storage, SupervisorJob
from pi10_classifier.oscar.services.fdl import Service
from pi10_classifier.sources.s3_client import S3Client

_EVENTS = ["s3:ObjectCreated:*"]
_TARGETS_LOAD_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Local:
    """A running local OSCAR: its addresses, its services, and the keys to reach it."""

    storage: Storage
    endpoint: str
    services: tuple[Service, ...]
    token: str
    jobs: Jobs
    client: Minio

    def environ(self) -> dict[str, str]:
        """The environment variables for S3 clients and ``pi10 oscar reconcile``."""
        return {
            "AWS_ENDPOINT_URL": self.storage.url,
            "AWS_ACCESS_KEY_ID": self.storage.access_key,
            "AWS_SECRET_ACCESS_KEY": self.storage.secret_key,
            "AWS_REGION": self.storage.region,
            "OSCAR_ENDPOINT": self.endpoint,
            "OSCAR_SERVICE_TOKEN": self.token,
            "OSCAR_TOKEN": self.token,
        }


@contextmanager
def local(
    home: Path,
    services: Sequence[Service],
    *,
    parallel: int = 2,
    faults: Faults | None = None,
    port: int = 0,
    s3_port: int = 0,
    existing_s3: Mapping[str, str] | None = None,
) -> Iterator[Local]:
    """Run everything on 127.0.0.1 for the block, with its objects in ``home``.

    ``existing_s3`` is an environment that names a MinIO of yours, whose webhooks must be set up.
    Raises SettingError if a part cannot start, or if another process uses ``home``.
    """
    python = supervisor.installed() or supervisor.install()
    home = home.resolve()
    scratch, logs = home / "jobs", home / "logs"
    for folder in (home, scratch, logs):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_alone(home))
        if port:
            require_free(port, "--port")
        port = port or free_port()
        access, secret, token = _keys(home)
        hooks = {
            service.name: Webhook(
                _target(service), f"http://127.0.0.1:{port}/job/{service.name}", token
            )
            for service in services
            if service.inputs
        }
        if existing_s3 is None:
            url = stack.enter_context(
                gateway(home / "s3", access, secret, port=s3_port, webhooks=hooks)
            )
            storage = Storage(url, access, secret)
        else:
            storage = _storage_of(existing_s3)
        store = S3Client(_environ_of(storage))
        client = store.client
        mirrors: dict[str, MountedBucket] = {}
        for service in services:
            if service.mount:
                whole = Bucket(store, BucketFolder(service.mount.bucket, ""))
                mirrors.setdefault(service.mount.bucket, MountedBucket(whole, home / "mnt"))
        workers = {
            service.name: SupervisorJob(
                service, storage, python, scratch,
                mirrors[service.mount.bucket] if service.mount else None,
            )
            for service in services
        }  # fmt: skip
        jobs = Jobs(workers, parallel, faults or Faults(), logs)
        stack.callback(jobs.stop)
        endpoint = stack.enter_context(
            receiver(jobs, {service.name: token for service in services}, port)
        )
        for service in services:
            _subscribe(client, service, hooks.get(service.name))
        yield Local(storage, endpoint, tuple(services), token, jobs, client)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Lock the folder: a second server on the same objects would damage them."""
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SettingError(
            f"another `pi10 oscar local up` runs in {home}; stop it, or choose another --home"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def environ_file(up: Local, path: Path) -> Iterator[None]:
    """Write a file for a shell to source, and remove it at the end of the block."""
    write_environ(up, path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write_environ(up: Local, path: Path) -> None:
    """Write a file for a shell to source; only its owner may read it."""
    text = "".join(f"export {name}='{value}'\n" for name, value in up.environ().items())
    write_atomically(path, text.encode())
    path.chmod(0o600)


def _target(service: Service) -> str:
    return service.name.upper().replace("-", "_")


def _keys(home: Path) -> tuple[str, str, str]:
    """S3 user, its secret and the services' token: made once, readable by the owner only."""
    path = home / "keys"
    if not path.is_file():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"pi10local {secrets.token_hex(20)} {secrets.token_hex(32)}\n")
    words = path.read_text("ascii").split()
    if len(words) != 3:
        raise SettingError(f"{path} is damaged; delete it, and {home / 's3'} with it")
    return words[0], words[1], words[2]


def _storage_of(environ: Mapping[str, str]) -> Storage:
    url = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    access, secret = (environ.get(f"AWS_{key}") for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    if not url or not access or not secret:
        raise SettingError(
            "your own MinIO needs AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "and at least one of them is not set; set all three"
        )
    return Storage(url, access, secret, environ.get("AWS_REGION") or "us-east-1")


def _environ_of(storage: Storage) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": storage.url,
        "AWS_ACCESS_KEY_ID": storage.access_key,
        "AWS_SECRET_ACCESS_KEY": storage.secret_key,
        "AWS_REGION": storage.region,
    }


def _subscribe(client: Minio, service: Service, hook: Webhook | None) -> None:
    """Make the service's buckets, and subscribe to the events of its inputs, as OSCAR does."""
    mounted = (service.mount,) if service.mount else ()
    for place in (*service.inputs, *service.outputs, *mounted):
        if not client.bucket_exists(bucket_name=place.bucket):
            client.make_bucket(bucket_name=place.bucket)
    if hook is None:
        return
    by_bucket: dict[str, list[QueueConfig]] = {}
    for number, place in enumerate(service.inputs):
        by_bucket.setdefault(place.bucket, []).append(
            QueueConfig(
                queue=hook.arn,
                events=_EVENTS,
                config_id=f"{service.name}-{number}",
                prefix_filter_rule=PrefixFilterRule(place.prefix),
            )
        )
    for bucket, queues in by_bucket.items():
        _notify(client, bucket, queues, hook)


def _notify(client: Minio, bucket: str, queues: list[QueueConfig], hook: Webhook) -> None:
    until = time.monotonic() + _TARGETS_LOAD_WITHIN_S
    known = client.get_bucket_notification(bucket_name=bucket).queue_config_list or []
    ours = {queue.config_id for queue in queues}
    config = NotificationConfig(
        queue_config_list=[*(q for q in known if q.config_id not in ours), *queues]
    )
    while True:
        try:
            client.set_bucket_notification(bucket_name=bucket, config=config)
            return
        except S3Error as error:
            # the server loads its targets some time after it starts to answer
            if error.code != "InvalidArgument" or time.monotonic() > until:
                names = ", ".join(f"{name}={value}" for name, value in hook.environ().items()
                                  if "TOKEN" not in name)  # fmt: skip
                raise SettingError(
                    f"s3://{bucket}: the S3 server refuses {hook.arn}: {error.message} Start it "
                    f"with {names} and the token of the file `environment`"
                ) from error
        time.sleep(0.2)
