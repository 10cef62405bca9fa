"""Packages of a registry on disk, and which version a name stood for when it was last asked.

::

    packages/DIGEST/            model.json, model.onnx, other graphs, README.md; never changed
    asked/HASH.json             server and name -> version, digest, time

Processes may share a cache: a package is made beside and renamed into place, as is a note.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pi10_classifier.errors import Code, ModelError, OutputError, SettingError
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.model.graphs.entries import MAIN
from pi10_classifier.model.package import (
    MAX_MODEL_BYTES,
    graph_hashes,
    package_digest,
    verify_package,
)
from pi10_classifier.registry.client import ModelVersion, Registry
from pi10_classifier.registry.reference import ModelReference

VARIABLE = "PI10_MODEL_CACHE"
# the most bytes of each file of a package; beside them only the graphs that model.json names are
# asked for and written
_DESCRIPTION, _CARD = ("model.json", 16 * 2**20), ("README.md", 2**20)
_LITTER_S = 86_400.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Note:
    """Which version a name stood for. at: when the registry said so, ISO 8601 in UTC."""

    address: str
    reference: str
    version: str
    digest: str
    at: str

    @classmethod
    def now(cls, address: str, reference: ModelReference, version: str, digest: str) -> Note:
        """What the registry says now."""
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return cls(address, str(reference), version, digest, at)


def default_folder(environ: Mapping[str, str]) -> Path:
    """PI10_MODEL_CACHE, else ``pi10-classifier/registry`` in the user's cache."""
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE]).absolute()
    try:
        user = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    except RuntimeError:  # a container's user without a home
        raise SettingError(f"this user has no home folder; set {VARIABLE} to a folder") from None
    return Path(user).absolute() / "pi10-classifier" / "registry"


def _unwritable(error: OSError, path: Path) -> OutputError:
    code = Code.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else (
        Code.STORAGE_UNAVAILABLE
    )  # fmt: skip
    return OutputError(
        code,
        f"the cache of models {path} cannot be written ({error.strerror or error}); free space, or"
        f" set {VARIABLE} to another folder",
    )


def _unusable(version: ModelVersion, folder: Path, error: ModelError) -> ModelError:
    message = error.message.replace(str(folder), "its package")
    return ModelError(f"{version} cannot be used: {message}")


class Cache:
    """The cache in one folder; it is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, address: str, reference: ModelReference) -> Note | None:
        """What the reference stood for when the registry was last asked; None if never."""
        try:
            fields = json.loads(self._note_path(address, reference).read_text("utf-8"))
            note = Note(**{key: str(value) for key, value in fields.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        same = (note.address, note.reference) == (address, str(reference))
        return note if same and _DIGEST.fullmatch(note.digest) else None

    def write(self, note: Note, reference: ModelReference) -> None:
        """Remember what the registry said. Raises OutputError."""
        path = self._note_path(note.address, reference)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(error, path.parent) from error
        with atomic_path(path, shared=True, sync=False) as temporary:
            temporary.write_text(json.dumps(asdict(note), indent=1) + "\n", "utf-8")

    def _note_path(self, address: str, reference: ModelReference) -> Path:
        key = hashlib.sha256(f"{address}\n{reference}".encode()).hexdigest()[:32]
        return self.folder / "asked" / f"{key}.json"

    def package(self, digest: str, *, partial: bool = False) -> Path | None:
        """The folder of a cached package whose bytes still have this digest; else None.

        partial: also without graphs beside ``model.onnx``, as earlier builds left it: for where no
        registry can give them.
        """
        folder = self.folder / "packages" / digest
        try:
            if package_digest(folder) != digest:
                return None
            for file, sha256 in graph_hashes(folder).items():
                path = folder / file
                if file == MAIN or (partial and not path.exists()):
                    continue
                with path.open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                        return None
            return folder
        except (OSError, ModelError):
            return None

    def add(self, registry: Registry, version: ModelVersion) -> tuple[Path, str]:
        """Download a version's package, verify it, and keep it; returns folder and digest.

        Raises ModelError if it is damaged or not what its tag says, the registry's errors, and
        OutputError for the cache.
        """
        packages = self.folder / "packages"
        temporary = packages / f".{secrets.token_hex(8)}.tmp"
        try:
            packages.mkdir(parents=True, exist_ok=True)
            self._sweep(packages)
            temporary.mkdir()
            self._fetch(registry, version, temporary)
            digest = self._verified(temporary, version)
            folder = packages / digest
            if self.package(digest) is None:
                shutil.rmtree(folder, ignore_errors=True)  # damaged
                try:
                    temporary.rename(folder)
                except OSError:
                    if self.package(digest) is None:  # else another process was faster
                        raise
            return folder, digest
        except OSError as error:
            raise _unwritable(error, packages) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @staticmethod
    def _fetch(registry: Registry, version: ModelVersion, folder: Path) -> None:
        name, most = _DESCRIPTION
        registry.fetch(version, name, folder / name, most)
        try:
            files = graph_hashes(folder)
        except ModelError as error:
            raise _unusable(version, folder, error) from None
        for name in files:
            try:
                registry.fetch(version, name, folder / name, MAX_MODEL_BYTES)
            except ModelError as error:
                if name == MAIN:
                    raise
                raise ModelError(
                    f"{version} has no {name}, which its model.json names, as earlier builds did"
                    " not send it; run `pi10 models register` with the same package once more"
                ) from error
        name, most = _CARD
        try:
            registry.fetch(version, name, folder / name, most)
        except ModelError:  # it is for people
            (folder / name).unlink(missing_ok=True)

    @staticmethod
    def _verified(folder: Path, version: ModelVersion) -> str:
        digest = package_digest(folder)
        if version.digest and digest != version.digest:
            raise ModelError(
                f"{version}: the package has SHA-256 {digest[:16]}…, but it was registered with"
                f" {version.digest[:16]}…; it was changed or damaged, register it again"
            )
        try:
            verify_package(folder)
        except ModelError as error:
            raise _unusable(version, folder, error) from None
        return digest

    @staticmethod
    def _sweep(packages: Path) -> None:
        """Remove what killed downloads have left."""
        for path in packages.glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LITTER_S:
                    shutil.rmtree(path, ignore_errors=True)
