"""The model packages that a request may name: embedded, configured, or trained here."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from pi10_classifier.api.client_errors import message_of
from pi10_classifier.api.predictions.served_model import FOLLOWER
from pi10_classifier.api.settings import Service
from pi10_classifier.errors import Pi10Error, SettingError
from pi10_classifier.model.package import ALIASES, Package, installed, read_package
from pi10_classifier.model.session import Model

LOADED = 3  # models that a worker keeps loaded
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def folders(service: Service) -> dict[str, Path]:
    """Name -> folder of all packages, the embedded ones first; read from disk at each call.

    The best package of a training here has the training's name.
    """
    packages = {folder.name: folder for folder in installed()}
    for name, folder in _others(service):
        if _NAME.fullmatch(name) and (folder / "model.json").is_file():
            packages.setdefault(name, folder)
    return packages


def _others(service: Service) -> Iterator[tuple[str, Path]]:
    if service.models_dir:
        yield from ((path.name, path) for path in sorted(service.models_dir.iterdir()))
    if service.trusts_trainings:
        for training in sorted(service.trainings.iterdir()):
            yield training.name, training / "model"


def folder_of(name: str, service: Service) -> Path:
    """The folder of a package by its name. Raises SettingError with the names that exist."""
    if name == service.model:
        return FOLLOWER.folder(service)
    known = folders(service)
    name = name if name in known else ALIASES.get(name, name)
    if name not in known:
        raise SettingError(f"no model {name[:80]!r} here; choose one of: {', '.join(known)}")
    return known[name]


class Shelf:
    """A cache of the models last used by this process; a changed package is loaded again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Model] = {}
        self._lock = threading.Lock()

    def load(self, folder: Path, device: str = "cpu") -> Model:
        """Verify and load a package once. Raises ModelError, or SettingError for the device."""
        stats = [(folder / name).stat() for name in ("model.json", "model.onnx")]
        key = (folder, device, *((s.st_mtime_ns, s.st_size, s.st_ino) for s in stats))
        with self._lock:
            model = self._kept.pop(key, None)
            if model is not None:
                self._kept[key] = model
                return model
        # without the lock: a request for a loaded model must not wait for another's loading
        model = Model.load(folder, device)
        with self._lock:
            self._kept[key] = model  # at the end: the least recently used is dropped first
            while len(self._kept) > LOADED:
                del self._kept[next(iter(self._kept))]
            return model


def with_thresholds(model: Model, least: float | Mapping[str, float] | None) -> Model:
    """The same model with other thresholds: ``least`` is one for all classes, or by class.

    Raises ValidationError for a class that the model does not know.
    """
    if least is None:
        return model
    classes = model.package.classes
    least = dict.fromkeys(classes, least) if isinstance(least, int | float) else least
    for name in least:
        if name not in classes:
            message = f"{name[:80]!r} is not a class of {model.package.name}; its classes are "
            raise ValidationError(f"{message}{', '.join(classes)}.", "thresholds")
    changed = copy.copy(model)  # the session is shared
    thresholds = tuple(float(least.get(name, 0.0)) for name in classes)
    changed.package = replace(model.package, thresholds=thresholds)
    return changed


def describe(service: Service) -> list[dict[str, Any]]:
    """The entries of ``get_metadata`` for each package; for a damaged one, the error."""
    entries: list[dict[str, Any]] = []
    known = folders(service)
    for name in [service.model] * (service.model not in known) + list(known):
        try:
            folder = folder_of(name, service)
            entries.append({"id": name, **_described(read_package(folder)[0])})
        except Pi10Error as error:
            problem = {"code": error.code, "message": message_of(error)}
            entries.append({"id": name, "error": problem})
    return entries


def _described(package: Package) -> dict[str, Any]:
    description = package.description
    training = description.get("training") or {}
    return {
        "name": package.name,
        "version": package.version,
        "classes": list(package.classes),
        "input_px": package.preprocessing.size,
        "sha256": package.sha256,
        "metrics": description.get("metrics", {}),
        "thresholds": dict(zip(package.classes, package.thresholds, strict=False)),
        "never_seen": description.get("never_seen", ""),
        "training_run": training.get("run_id", ""),
    }
