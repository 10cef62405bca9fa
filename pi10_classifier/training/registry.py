"""Registered versions of model packages in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

EVENT_TAG, TIME_TAG = "pi10.event", "pi10.registered_at"


def register(client: Any, run_id: str, artifacts: str, ours: str, event: Mapping[str, Any]) -> None:
    """A version of the registered model, once; the alias goes to the latest of them."""
    from mlflow.exceptions import MlflowException

    name, alias = event["model"], event["alias"]
    mark = {EVENT_TAG: f"{ours}/{event['stored']}"}
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
    same = [v for v in versions if v.tags.get(EVENT_TAG) == mark[EVENT_TAG]]
    made = same[0] if same else client.create_model_version(
        name, f"{artifacts}/{event['folder']}", run_id,
        mark | {TIME_TAG: str(event["at"])},
    )  # fmt: skip
    held = client.get_registered_model(name).aliases.get(alias)
    if held is not None:
        tags = client.get_model_version(name, held).tags
        if int(tags.get(TIME_TAG, 0)) > event["at"]:
            return  # a spool sent late does not displace a newer model
    client.set_registered_model_alias(name, alias, made.version)


def write_mlmodel(package: Path, run_id: str, folder: str) -> None:
    """MLflow's own description, so that ``mlflow.onnx.load_model`` opens the package too."""
    from mlflow import pyfunc
    from mlflow.models import Model

    try:
        onnx_version = version("onnx")
    except PackageNotFoundError:
        onnx_version = "unknown"
    model = Model(artifact_path=folder, run_id=run_id)
    pyfunc.add_to_model(model, loader_module="mlflow.onnx", data="model.onnx")
    model.add_flavor(
        "onnx", onnx_version=onnx_version, data="model.onnx", providers=["CPUExecutionProvider"]
    )
    model.save(str(package / "MLmodel"))
