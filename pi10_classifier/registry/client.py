"""Registered models of an MLflow server: versions, aliases, tags, files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pi10_classifier.errors import ModelError
from pi10_classifier.registry.reference import ModelReference, check_alias, check_name
from pi10_classifier.registry.server import RegistryAwayError, RegistryRefusedError, RegistryServer

# of a version: SHA-256 of its model.onnx and model.json together (model.package.package_digest)
DIGEST_TAG = "pi10.package_sha256"
# what trainings have told since before: the run, then the same digest
EVENT_TAG = "pi10.event"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAGE = 200
_MAX_PAGES = 500


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model. digest: of its package, "" if nobody told it.

    created: milliseconds since 1970. aliases: those that the version holds, sorted.
    """

    name: str
    version: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    run_id: str = ""
    source: str = ""
    created: int = 0
    description: str = ""

    @property
    def digest(self) -> str:
        told = self.tags.get(DIGEST_TAG) or self.tags.get(EVENT_TAG, "").rpartition("/")[2]
        return told if _DIGEST.fullmatch(told) else ""

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model. aliases: alias -> version."""

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    updated: int = 0


class Registry:
    """The registry of one server.

    Each method raises RegistryAwayError if the server does not answer, and RegistryRefusedError
    if it refuses.
    """

    def __init__(self, server: RegistryServer) -> None:
        self.server = server

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Registry:
        """Of MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI. Raises SettingError if unusable."""
        return cls(RegistryServer.from_environ(environ))

    @property
    def address(self) -> str:
        return self.server.address

    def models(self) -> list[RegisteredModel]:
        """All registered models, by name."""
        entries = self._pages("registered-models/search", "registered_models", {})
        return sorted((_model(entry) for entry in entries), key=lambda model: model.name)

    def model(self, name: str) -> RegisteredModel:
        """One registered model. Raises RegistryRefusedError if there is none of that name."""
        check_name(name)
        try:
            entry = self._get("registered-models/get", "registered_model", {"name": name})
        except RegistryRefusedError as error:
            if not error.is_missing:
                raise
            words = f"the registry {self.address} has no model {name!r}; `pi10 models list` names"
            raise RegistryRefusedError(f"{words} them", error.reason, error.status) from None
        return _model(entry)

    def versions(self, name: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        check_name(name)
        values = {"filter": f"name='{name}'"}
        entries = self._pages("model-versions/search", "model_versions", values)
        aliases = self.model(name).aliases
        versions = [_version(entry, aliases) for entry in entries]
        return sorted(versions, key=lambda version: -int(version.version))

    def version(self, reference: ModelReference) -> ModelVersion:
        """The version that a reference names now."""
        if reference.alias:
            path, values = "registered-models/alias", {"alias": reference.alias}
        else:
            path, values = "model-versions/get", {"version": reference.version}
        try:
            entry = self._get(path, "model_version", {"name": reference.name, **values})
        except RegistryRefusedError as error:
            # MLflow 3.17 calls an alias that nobody holds an invalid parameter
            if not error.is_missing and error.reason != "INVALID_PARAMETER_VALUE":
                raise
            raise RegistryRefusedError(
                f"the registry {self.address} has no {reference}; `pi10 models show"
                f" {reference.name}` names versions and aliases", "RESOURCE_DOES_NOT_EXIST", 404,
            ) from None  # fmt: skip
        version = _version(entry, {})
        if version.name != reference.name:
            raise RegistryRefusedError(
                f"{self.address} answers with {version.name!r} where {reference} was asked for"
            )
        return version

    def with_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that holds the alias; None if no version does, or there is no such model."""
        try:
            return self.version(ModelReference(name, alias=alias))
        except RegistryRefusedError as error:
            if error.is_missing:
                return None
            raise

    def create_model(self, name: str) -> None:
        """Create a registered model, unless it exists."""
        check_name(name)
        try:
            self.server.ask("POST", "registered-models/create", {"name": name})
        except RegistryRefusedError as error:
            if error.reason != "RESOURCE_ALREADY_EXISTS":
                raise

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Give the alias to a version, and so take it from the one that holds it."""
        check_alias(alias)
        values = {"name": name, "alias": alias, "version": version}
        self.server.ask("POST", "registered-models/alias", values)

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias away from whichever version holds it."""
        self.server.ask("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def tag_model(self, name: str, key: str, value: str) -> None:
        values = {"name": name, "key": key, "value": value}
        self.server.ask("POST", "registered-models/set-tag", values)

    def tag_version(self, version: ModelVersion, key: str, value: str) -> None:
        values = {"name": version.name, "version": version.version, "key": key, "value": value}
        self.server.ask("POST", "model-versions/set-tag", values)

    def fetch(self, version: ModelVersion, file: str, target: Path, most: int) -> int:
        """Download one file of a version's package; returns its size in bytes.

        The server reads it from wherever the artifacts lie. Raises also ModelError if the
        version's package has no such file.
        """
        query = {"name": version.name, "version": version.version, "path": file}
        try:
            with target.open("wb") as stream:
                return self.server.fetch("/model-versions/get-artifact", query, stream, most)
        except RegistryRefusedError as error:
            if not error.is_missing:
                raise
            raise ModelError(
                f"{version} has no {file} ({error.message}); it is no model package of pi10:"
                " register one by `pi10 models register`"
            ) from None

    def _get(self, path: str, key: str, values: Mapping[str, Any]) -> dict[str, Any]:
        entry = self.server.ask("GET", path, values).get(key)
        if not isinstance(entry, dict):
            raise RegistryAwayError(f"{self.address} answers {path} without {key}")
        return entry

    def _pages(self, path: str, key: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        following = ""  # of the next page, as the server names it
        for _ in range(_MAX_PAGES):
            asked = {**values, "max_results": _PAGE, "page_token": following}
            page = self.server.ask("GET", path, asked)
            yield from page.get(key) or ()
            following = str(page.get("next_page_token") or "")
            if not following:
                return
        raise RegistryRefusedError(f"{self.address} has more than {_PAGE * _MAX_PAGES} for {path}")


def _pairs(entries: Any) -> dict[str, str]:
    return {str(entry["key"]): str(entry.get("value", "")) for entry in entries or ()}


def _model(entry: Mapping[str, Any]) -> RegisteredModel:
    aliases = {str(a["alias"]): str(a["version"]) for a in entry.get("aliases") or ()}
    return RegisteredModel(
        str(entry["name"]), aliases, _pairs(entry.get("tags")),
        str(entry.get("description", "")), int(entry.get("last_updated_timestamp", 0)),
    )  # fmt: skip


def _version(entry: Mapping[str, Any], aliases: Mapping[str, str]) -> ModelVersion:
    version = str(entry["version"])
    held = sorted(alias for alias, holder in aliases.items() if holder == version)
    return ModelVersion(
        str(entry["name"]), version, _pairs(entry.get("tags")), tuple(held),
        str(entry.get("run_id", "")), str(entry.get("source", "")),
        int(entry.get("creation_timestamp", 0)), str(entry.get("description", "")),
    )  # fmt: skip
