"""Registers a model package from disk as a version of a registered model."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pi10_classifier
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.foundation.redaction import scrub, secrets_of
from pi10_classifier.model.graphs.entries import MAIN
from pi10_classifier.model.package import (
    MAX_MODEL_BYTES,
    Package,
    graph_hashes,
    package_digest,
    verify_package,
)
from pi10_classifier.registry.client import DIGEST_TAG, ModelVersion, Registry
from pi10_classifier.registry.reference import ModelReference, check_alias, check_name
from pi10_classifier.registry.server import RegistryRefusedError

CANDIDATE = "candidate"
EXPERIMENT = "pi10-registered"
TIME_TAG, BY_TAG, WHY_TAG = "pi10.registered_at", "pi10.registered_by", "pi10.registered_why"
PACKAGE_TAG, CLASSES_TAG, GRAPH_TAG = "pi10.package", "pi10.classes", "pi10.model_sha256"
_FOLDER = "model"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts/"


def register(
    registry: Registry,
    name: str,
    package: Path,
    *,
    alias: str = CANDIDATE,
    why: str = "",
    by: str = "",
    run_id: str = "",
    tags: Mapping[str, str] | None = None,
    experiment: str = EXPERIMENT,
    environ: Mapping[str, str] = os.environ,
) -> ModelVersion:
    """Verify a package, upload it, and register it as a version, which gets ``alias``.

    The same package is one version, however often it is registered; graphs that the server lacks of
    it are sent. alias: "" for none. run_id: the run that made it, where the package goes; else a
    run of its own in ``experiment``. tags: more tags of the version. Raises ModelError for a
    package that fails verification, SettingError, RegistryAwayError or RegistryRefusedError.
    """
    check_name(name)
    if alias:
        check_alias(alias)
    read = verify_package(package)
    digest = package_digest(package)
    registry.create_model(name)
    version = _same(registry, name, digest)
    if version is not None:
        _complete(registry, version, package)
    else:
        run_id, artifacts = _run(registry, run_id, name, experiment)
        source = f"{artifacts.rstrip('/')}/{_FOLDER}"
        _upload(registry, package, source, run_id, read, digest)
        secrets = secrets_of(environ)
        known = {
            DIGEST_TAG: digest,
            GRAPH_TAG: read.sha256,
            PACKAGE_TAG: f"{read.name} {read.version}",
            CLASSES_TAG: json.dumps(list(read.classes), ensure_ascii=False),
            TIME_TAG: str(int(time.time() * 1000)),
            BY_TAG: by or user_name(),
            WHY_TAG: scrub(why, secrets),
        }
        entries = [{"key": k, "value": v} for k, v in {**(tags or {}), **known}.items() if v]
        values = {"name": name, "source": source, "run_id": run_id, "tags": entries}
        made = registry.server.ask("POST", "model-versions/create", values)
        number = str(made["model_version"]["version"])
        version = registry.version(ModelReference(name, version=number))
    if alias:
        registry.set_alias(name, alias, version.version)
    return version


def user_name() -> str:
    """Who is at work, for a record: the login name, or "unknown" in a container without one."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _same(registry: Registry, name: str, digest: str) -> ModelVersion | None:
    """The oldest version of the same bytes; None if there is none."""
    same = [version for version in registry.versions(name) if version.digest == digest]
    return same[-1] if same else None


def _run(registry: Registry, run_id: str, name: str, experiment: str) -> tuple[str, str]:
    """The run whose artifacts will hold the package, and where they lie."""
    server = registry.server
    if run_id:
        info = server.ask("GET", "runs/get", {"run_id": run_id})["run"]["info"]
        return run_id, str(info["artifact_uri"])
    try:
        values = {"experiment_name": experiment}
        found = server.ask("GET", "experiments/get-by-name", values)["experiment"]
        experiment_id = str(found["experiment_id"])
    except RegistryRefusedError as error:
        if not error.is_missing:
            raise
        made = server.ask("POST", "experiments/create", {"name": experiment})
        experiment_id = str(made["experiment_id"])
    now = int(time.time() * 1000)
    tags = {"mlflow.source.name": "pi10", "pi10.version": pi10_classifier.__version__}
    run = server.ask("POST", "runs/create", {
        "experiment_id": experiment_id, "start_time": now, "run_name": f"register {name}",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    })["run"]["info"]  # fmt: skip
    run_id = str(run["run_id"])
    ended = {"run_id": run_id, "status": "FINISHED", "end_time": now}
    server.ask("POST", "runs/update", ended)
    return run_id, str(run["artifact_uri"])


def _upload(
    registry: Registry, package: Path, source: str, run_id: str, read: Package, digest: str
) -> None:
    """Send the package's files through the server."""
    target = _target(registry, source)
    for name in (*graph_hashes(package), "model.json", "README.md"):
        if (package / name).is_file():
            registry.server.send(f"{target}/{name}", package / name)
    with TemporaryDirectory(prefix="pi10-register-") as folder:
        path = Path(folder) / "MLmodel"
        path.write_text(json.dumps(_mlmodel(read, run_id)), "utf-8")  # JSON is YAML
        registry.server.send(f"{target}/MLmodel", path)
    if package_digest(package) != digest:
        raise ModelError(f"{package} was changed while it was uploaded; register it again")


def _complete(registry: Registry, version: ModelVersion, package: Path) -> None:
    """Send the graphs that a version lacks: earlier builds sent ``model.onnx`` alone."""
    with TemporaryDirectory(prefix="pi10-register-") as folder:
        for name in graph_hashes(package).keys() - {MAIN}:
            try:
                registry.fetch(version, name, Path(folder) / "graph", MAX_MODEL_BYTES)
            except ModelError:  # there is none
                target = _target(registry, version.source)
                registry.server.send(f"{target}/{name}", package / name)


def _target(registry: Registry, source: str) -> str:
    """The path of a version's files at the server. Raises SettingError where it takes none."""
    parts = urlsplit(source)
    if parts.scheme != "mlflow-artifacts":
        raise SettingError(
            f"the registry {registry.address} keeps artifacts at {parts.scheme or 'a path'}, where"
            " clients write them themselves; start the server with --artifacts-destination, so that"
            " it takes them, or register by `pi10 train --register`"
        )
    return _PROXY + parts.path.lstrip("/")


def _mlmodel(read: Package, run_id: str) -> dict[str, Any]:
    """MLflow's description, so that ``mlflow.onnx.load_model`` opens the package."""
    return {
        "artifact_path": _FOLDER,
        "run_id": run_id,
        "flavors": {
            "onnx": {
                "data": "model.onnx", "onnx_version": "unknown",
                "providers": ["CPUExecutionProvider"], "code": None,
            },
            "python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx", "env": {}},
        },
        "metadata": {"pi10_package": f"{read.name} {read.version}"},
    }  # fmt: skip
