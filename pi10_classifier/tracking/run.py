"""Writes MLflow runs to a spool, from which a separate process sends them.

So a dead server cannot stop a training. Without ``MLFLOW_TRACKING_URI``, runs go to ``mlflow.db``
(SQLite) and ``mlruns/`` in the working folder. This is the default of MLflow 3.17 and needs no
server; ``mlflow ui`` in that folder shows the runs. MLflow no longer opens the former file store
(``./mlruns`` without a database).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import pi10_classifier
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.redaction import redacted, scrub, secrets_of
from pi10_classifier.model.package import package_digest
from pi10_classifier.tracking import spool as sp
from pi10_classifier.tracking.spool import Header, RunSpool
from pi10_classifier.tracking.sync import Synced, Warn, destination, finish, start_sender, sync

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["FINISHED", "FAILED", "KILLED"]
__all__ = ["Synced", "TrackingRun", "open_run", "sync"]
ALIAS = "candidate"
PACKAGE = "model"
LONGEST_PARAM, LONGEST_KEY = 6000, 250  # characters; MLflow's limits
_log = logging.getLogger(__name__)


class TrackingRun:
    """A run of MLflow, written to its spool; a context manager that ends it.

    ``id`` (32 hex digits) is known at once and is the run's tag ``pi10.run_id`` in MLflow.
    Methods only write to the local disk; they raise OutputError if that fails.
    """

    def __init__(
        self, spool: RunSpool, environ: Mapping[str, str], sends: bool, warn: Warn
    ) -> None:
        self._spool = spool
        self._warn = warn
        self._environ = environ
        self._secrets = secrets_of(environ)
        self._ended = False
        spool.append("open")
        self._sender = start_sender(spool.path.parent, environ, warn) if sends else None

    @property
    def id(self) -> str:
        return self._spool.header.id

    @property
    def unsent(self) -> int:
        """Events of this run that MLflow has not acknowledged."""
        return self._spool.pending

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings become ``outer.inner``. A name keeps its first value."""
        flat = {_key(k): _text(v)[:LONGEST_PARAM] for k, v in _flat(values).items()}
        self._append("params", values=flat)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics of one step (an epoch). A repeated step keeps its first value."""
        flat = {_key(k): float(v) for k, v in _flat(values).items()}
        self._append("metrics", values=flat, step=int(step))

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Log the numbers of an epoch's record, at the step ``record["epoch"]``."""
        numbers = {k: v for k, v in _flat(record).items() if isinstance(v, (int, float))}
        self.metrics(numbers, int(numbers.pop("epoch", 0)))

    def tags(self, values: Mapping[str, Any]) -> None:
        self._append("tags", values={_key(k): _text(v) for k, v in values.items()})

    def artifact(self, path: Path, folder: str = "") -> None:
        """Log a copy of a file or folder in its present state, in the artifacts' ``folder``."""
        where = _safe(folder)
        if not path.exists():
            raise SettingError(f"artifact {path} does not exist")
        self._append("artifact", stored=self._spool.store(path, path.name), folder=where)

    def text(self, text: str, name: str) -> None:
        """Log ``text`` as the UTF-8 artifact ``name``, which may have folders: ``tables/x.csv``."""
        self._blob(scrub(text, self._secrets).encode("utf-8"), name)

    def figure(self, figure: Figure, name: str) -> None:
        """Log a matplotlib figure as the artifact ``name`` (.png or .svg)."""
        stream = io.BytesIO()
        figure.savefig(stream, format=PurePosixPath(name).suffix.lstrip(".") or "png", dpi=120)
        self._blob(stream.getvalue(), name)

    def package(
        self,
        folder: Path,
        register_as: str = "",
        alias: str = ALIAS,
        figure: float | None = None,
        split: str = "",
    ) -> None:
        """Log a model package as the artifact ``model`` and, with a name, as a registered version.

        figure: validation macro-F1 on the split with SHA-256 ``split``. It decides whether the
        version takes ``alias`` from another one, see ``registry.is_better``.
        ``mlflow artifacts download -u models:/NAME@candidate`` brings the package back.
        """
        if not (folder / "model.onnx").is_file():
            raise SettingError(f"{folder} holds no model.onnx; name a model package")
        check_model_name(register_as)
        stored = self._spool.store(folder, PACKAGE)
        fields = {}
        if register_as:
            fields = {
                "model": register_as, "alias": alias, "split": split,
                "content": package_digest(folder), "figure": "" if figure is None else repr(figure),
            }  # fmt: skip
        self._append("package", stored=stored, folder=PACKAGE, **fields)

    def child(self, name: str, **tags: Any) -> TrackingRun:
        """Open a nested run in the same spool; a repeated name continues the same run."""
        header = self._spool.header
        spool = _enter(self._spool.path.parent, header.experiment, name, self.id,
                       header.destination, {k: _text(v) for k, v in tags.items()})  # fmt: skip
        return TrackingRun(spool, self._environ, False, self._warn)

    def end(self, status: Status = "FINISHED") -> None:
        """End the run. The root run also waits for its sender while that makes progress.

        It gives up at once if the server does not answer, and after a minute without progress.
        Entries that the server did not accept stay in the spool, and a warning names the command
        that sends them.
        """
        if self._ended:
            return
        self._ended = True
        self._append("end", status=status)
        if self._sender is not None:
            finish(self._sender, self._spool.path.parent, self._warn)

    def __enter__(self) -> TrackingRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.end("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")

    def _append(self, kind: str, **fields: Any) -> None:
        self._spool.append(kind, **scrub(fields, self._secrets))

    def _blob(self, blob: bytes, name: str) -> None:
        path = PurePosixPath(_safe(name))
        folder = "" if str(path.parent) == "." else str(path.parent)
        self._append("artifact", stored=self._spool.store(blob, path.name), folder=folder)


def open_run(
    experiment: str,
    name: str,
    *,
    folder: Path,
    environ: Mapping[str, str] = os.environ,
    warn: Warn = _log.warning,
) -> TrackingRun:
    """Open a run, or continue the one of this name in ``folder``.

    folder: the training's output folder, which contains the spool. warn: called with what MLflow
    did not accept, and how to send it later. Raises SettingError for a bad MLFLOW_TRACKING_URI, and
    OutputError if the folder cannot be written.
    """
    where = redacted(destination(environ))
    spool = _enter(folder / sp.SPOOL, experiment, name, "", where, {})
    return TrackingRun(spool, environ, True, warn)


def check_model_name(name: str) -> None:
    """Raise SettingError if MLflow does not accept the name for a registered model."""
    if re.search(r"[/:\\'\"]", name):
        raise SettingError(
            f"a registered model cannot be named {name!r}; use a name without / : and '"
        )


def _enter(
    root: Path, experiment: str, name: str, parent: str, where: str, tags: dict[str, str]
) -> RunSpool:
    for spool in sp.runs_of(root):
        header = spool.header
        if (header.experiment, header.name, header.parent) == (experiment, name, parent):
            return spool
    tags |= {"mlflow.source.name": "pi10", "pi10.version": pi10_classifier.__version__}
    return RunSpool.create(root, Header(uuid.uuid4().hex, experiment, name, parent, where, tags))


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def _key(name: str) -> str:
    """A name that MLflow accepts: letters, digits and _ - . space / : in at most 250 characters.

    A changed name gets eight digits of its hash, so that names that differ only in special
    characters stay different.
    """
    name = str(name)
    parts = re.sub(r"[^\w\-. /:]", "_", name).split("/")
    clean = "/".join(part for part in parts if part.strip("."))
    if clean.startswith(".."):
        clean = f"_{clean}"
    if clean and clean == name and len(clean) <= LONGEST_KEY:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: LONGEST_KEY - len(digest) - 1]}-{digest}"


def _text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, (list, tuple)) else str(value)


def _safe(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise SettingError(
            f"artifact path {path!r} leaves the run's artifacts; give a path"
            " without .. and without a leading /"
        )
    return "" if str(pure) == "." else str(pure)
