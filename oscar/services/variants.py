"""Makes variants of a service: with another GPU, image, bucket or model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.services.fdl import Service, checked
from pi10_classifier.registry.server import ADDRESSES

_PLAIN_VARIABLES = (*ADDRESSES, "MLFLOW_TRACKING_USERNAME")
# tags of the images without CUDA; the image for GPUs does what each of them does
_WITHOUT_CUDA = ("latest", "serve", "train")


def on_gpu(service: Service) -> Service:
    """The same service on a GPU: it requests one, sets the device, and uses the CUDA image."""
    image = str(service.fdl["image"])
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        name, tag = image, "latest"
    if not tag.endswith("gpu"):
        image = f"{name}:gpu" if tag in _WITHOUT_CUDA else f"{name}:{tag}-gpu"
    return with_variables(service.changed(enable_gpu=True, image=image), {"PI10_DEVICE": "cuda"})


def with_variables(service: Service, variables: dict[str, str]) -> Service:
    """The service with more variables in its environment."""
    environment: dict[str, Any] = dict(service.fdl.get("environment", {}))
    environment["variables"] = {**service.variables, **variables}
    return service.changed(environment=environment)


def in_bucket(service: Service, bucket: str) -> Service:
    """The service with inputs, outputs and mount in another bucket, in the same folders."""
    fields: dict[str, Any] = {}
    for kind, places in (("input", service.inputs), ("output", service.outputs)):
        if places:
            entries = service.fdl[kind]
            fields[kind] = [
                {**entry, "path": f"{bucket}/{place.folder}".rstrip("/")}
                for entry, place in zip(entries, places, strict=True)
            ]
    mount = service.mount
    if mount:
        path = f"{bucket}/{mount.folder}".rstrip("/")
        fields["mount"] = {**service.fdl["mount"], "path": path}
    if not fields:
        raise SettingError(f"service {service.name!r} uses no bucket; remove --bucket")
    changed = service.changed(**fields)
    if not mount:
        return changed
    old, new = f"/mnt/{mount.bucket}/", f"/mnt/{bucket}/"
    return with_variables(
        changed, {key: value.replace(old, new) for key, value in service.variables.items()}
    )


def on_cluster(service: Service, cluster: str) -> Service:
    """The service for the cluster with that identifier."""
    return checked(replace(service, cluster=cluster))


def with_settings(service: Service, settings: Sequence[str]) -> Service:
    """Apply ``KEY=VALUE`` settings: keys of the FDL (cpu, memory, image, …) or variables.

    These are PI10_ ones and the addresses of MLflow. Its password and token are secrets, which the
    FDL file names in ``environment.secrets``.
    """
    fields: dict[str, Any] = {}
    variables: dict[str, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingError(
                f"--set {text!r} is not KEY=VALUE; write for example cpu=4 or PI10_JOBS=4"
            )
        if key.startswith("PI10_") or key in _PLAIN_VARIABLES:
            variables[key] = value
        elif key in ("cpu", "memory", "total_cpu", "total_memory", "image", "name", "vo",
                     "log_level", "visibility"):  # fmt: skip
            fields[key] = value
        else:
            raise SettingError(
                f"--set {key}: this key is unknown; write it in your own FDL file instead"
            )
    if variables:
        environment: dict[str, Any] = dict(service.fdl.get("environment", {}))
        environment["variables"] = {**service.variables, **variables}
        fields["environment"] = environment
    return service.changed(**fields)
