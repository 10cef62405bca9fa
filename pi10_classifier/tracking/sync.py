"""Chooses the destination of runs, starts the sender process, and runs ``pi10 track sync``."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pi10_classifier
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.redaction import redacted, scrub, secrets_of
from pi10_classifier.tracking import spool as sp

WAIT_S = 60.0  # longest wait at the end of a run without any progress
_ALWAYS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
# One short attempt, because whatever fails stays in the spool and is retried.
WHILE_TRAINING = _ALWAYS | {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}
ON_REQUEST = _ALWAYS | {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",
}
Warn = Callable[[str], None]
_log = logging.getLogger(__name__)


def destination(environ: Mapping[str, str]) -> str:
    """The destination of runs: MLFLOW_TRACKING_URI, or a SQLite store in the working folder."""
    uri = environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return f"sqlite:///{(Path.cwd() / 'mlflow.db').as_posix()}"
    if ("://" not in uri and not uri.startswith("databricks")) or uri.startswith("file:"):
        raise SettingError(
            f"MLFLOW_TRACKING_URI is {redacted(uri)!r}, a folder: MLflow no longer writes file"
            " stores. Use sqlite:///PATH/mlflow.db, or a server's http:// address"
        )
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute().as_posix()}"
    return uri


@dataclass(frozen=True, slots=True)
class Synced:
    """One run after ``sync``. ``problem`` says why ``pending`` events were not sent."""

    experiment: str
    name: str
    id: str
    run_id: str
    destination: str
    status: str
    sent: int
    pending: int
    refused: tuple[str, ...]
    problem: str


def sync(folder: Path, environ: Mapping[str, str] = os.environ) -> list[Synced]:
    """Send every spool under ``folder`` to MLflow; nothing is sent twice.

    It sends to MLFLOW_TRACKING_URI if that is set, else to the training's own destination.
    Raises SettingError if there is no spool, or if a training is still sending it.
    """
    if not installed():
        raise SettingError(f"mlflow is not installed; {install_command('train')}")
    roots = sorted(path for path in folder.rglob(sp.SPOOL) if path.is_dir())
    if folder.name == sp.SPOOL:
        roots.append(folder)
    if not roots:
        raise SettingError(f"{folder} holds no {sp.SPOOL}; name the folder of a tracked training")
    if environ.get("MLFLOW_TRACKING_URI"):
        environ = {**environ, "MLFLOW_TRACKING_URI": destination(environ)}
    return [run for root in roots for run in _sync(root, environ)]


def _sync(root: Path, environ: Mapping[str, str]) -> list[Synced]:
    before = {spool.header.id: spool.pending for spool in sp.runs_of(root)}
    done = subprocess.run(  # noqa: S603
        _command(root), env=_environ(environ, ON_REQUEST), capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        message = scrub(last, secrets_of(environ))
        raise SettingError(f"the sender stopped (status {done.returncode}): {message}") from None
    if answer.get("busy"):
        raise SettingError(f"a training is still sending {root}; wait until it ends")
    problems = answer["problems"]
    first = next(iter(problems.values()), "")
    rows = []
    for spool in sp.runs_of(root):
        header, sent, pending = spool.header, spool.sent, spool.pending
        rows.append(
            Synced(
                header.experiment, header.name, header.id, sent.run_id,
                sent.destination or header.destination, sent.status,
                before.get(header.id, 0) - pending, pending, tuple(sent.refused),
                problems.get(header.id, first) if pending else "",
            )
        )  # fmt: skip
    return rows


def _environ(environ: Mapping[str, str], limits: Mapping[str, str]) -> dict[str, str]:
    """The sender's environment: the caller's, plus our limits that it does not set."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    above = str(Path(pi10_classifier.__file__).parents[1])
    paths = os.pathsep.join(p for p in (above, os.environ.get("PYTHONPATH", "")) if p)
    return {**ours, **limits, **environ, "PYTHONPATH": paths}


def _command(root: Path, *more: str) -> list[str]:
    # -P: a file mlflow.py in the working folder must not be imported as MLflow
    return [sys.executable, "-P", "-m", "pi10_classifier.tracking.sender", str(root), *more]


def installed() -> bool:
    """Whether MLflow is installed; it is not imported."""
    return importlib.util.find_spec("mlflow") is not None


def start_sender(
    root: Path, environ: Mapping[str, str], warn: Warn = _log.warning
) -> subprocess.Popen[bytes] | None:
    if not installed():
        warn(f"mlflow is not installed: the run is kept in the spool {root} and not sent")
        return None
    try:
        return subprocess.Popen(  # noqa: S603
            _command(root, "--follow"),
            env=_environ(environ, WHILE_TRAINING) | {"MLFLOW_TRACKING_URI": destination(environ)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must reach only the training, which then ends its run
        )  # fmt: skip
    except OSError as error:
        warn(f"tracking only goes to the spool: the sender could not start ({error})")
        return None


def finish(sender: subprocess.Popen[bytes], root: Path, warn: Warn = _log.warning) -> None:
    """Let the sender send the rest while it makes progress; warn of what stays unsent."""
    why, left = "it took too long", _pending(root)
    # a line, not only closing the pipe, because data-loading processes may hold a copy of it
    word: bytes | None = b"end\n"
    while sender.returncode is None:
        try:
            answer, _ = sender.communicate(word, timeout=WAIT_S)
            why = next(iter(json.loads(answer)["problems"].values()), "")
        except subprocess.TimeoutExpired:
            word, before, left = None, left, _pending(root)
            if left == before:
                sender.kill()
                sender.communicate()
        except (ValueError, KeyError):
            why = "the sender stopped"
    if left := _pending(root):
        warn(
            f"MLflow did not take {left} entries ({why}); they wait in {root}. When MLflow"
            f" answers again, run: pi10 track sync {shlex.quote(str(root.parent))}"
        )


def _pending(root: Path) -> int:
    return sum(spool.pending for spool in sp.runs_of(root))
