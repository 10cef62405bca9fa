"""Registers model packages as model versions in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pi10_classifier.registry.client import DIGEST_TAG, EVENT_TAG

TIME_TAG = "pi10.registered_at"
FIGURE_TAG, SPLIT_TAG = "pi10.validation_macro_f1", "pi10.split_sha256"
_OF_EVENT = {FIGURE_TAG: "figure", SPLIT_TAG: "split", DIGEST_TAG: "content"}


def register(client: Any, run_id: str, artifacts: str, ours: str, event: Mapping[str, Any]) -> None:
    """Register the package once as a model version, with the alias if it is better.

    A run's package is one version even if it is sent several times, because the tag EVENT_TAG
    depends on its content only.
    """
    from mlflow.exceptions import MlflowException

    name, alias = event["model"], event["alias"]
    # spools of earlier program versions have neither content hash nor metric
    tags = {
        EVENT_TAG: f"{ours}/{event.get('content', event['stored'])}",
        TIME_TAG: str(event["at"]),
        **{tag: event[key] for tag, key in _OF_EVENT.items() if event.get(key)},
    }
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
    same = [v for v in versions if v.tags.get(EVENT_TAG) == tags[EVENT_TAG]]
    made = same[0] if same else client.create_model_version(
        name, f"{artifacts}/{event['folder']}", run_id, tags
    )  # fmt: skip
    held = client.get_registered_model(name).aliases.get(alias)
    if held is None or is_better(made.tags, client.get_model_version(name, held).tags):
        client.set_registered_model_alias(name, alias, made.version)


def is_better(new: Mapping[str, str], held: Mapping[str, str]) -> bool:
    """Whether a version takes the alias from the version that has it, by their tags.

    On the same split, the higher validation macro-F1 wins. Metrics of different splits cannot be
    compared: then, or if a metric is missing, the later training wins.
    """
    split, figures = new.get(SPLIT_TAG), (new.get(FIGURE_TAG), held.get(FIGURE_TAG))
    if split and split == held.get(SPLIT_TAG) and all(figures):
        mine, theirs = (float(figure or 0) for figure in figures)
        return mine > theirs
    return int(new.get(TIME_TAG, 0)) >= int(held.get(TIME_TAG, 0))


def write_mlmodel(package: Path, run_id: str, folder: str) -> None:
    """Write MLflow's description, so that ``mlflow.onnx.load_model`` opens the package."""
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
