"""From the name of a model, in a registry or not, to the folder of its package."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pi10_classifier.errors import ModelError, OutputError
from pi10_classifier.model import package
from pi10_classifier.registry.cache import Cache, Note, default_folder
from pi10_classifier.registry.client import ModelVersion, Registry
from pi10_classifier.registry.reference import ModelReference, is_reference
from pi10_classifier.registry.server import RegistryAwayError

LOG = logging.getLogger("pi10.registry")


@dataclass(frozen=True, slots=True)
class Resolved:
    """The package that a reference stands for.

    digest: SHA-256 of its model.onnx and model.json. since: when the registry said so, ISO 8601
    in UTC. away: why the registry could not be asked now, or why the version that it names now
    cannot be used; "" if neither.
    """

    reference: ModelReference
    folder: Path
    version: str
    digest: str
    since: str
    away: str = ""

    def __str__(self) -> str:
        return f"{self.reference} is version {self.version} ({self.digest[:8]})"


def find(name_or_folder: str, environ: Mapping[str, str] = os.environ) -> Path:
    """A package folder from its path, an embedded package's name, or models:/NAME@ALIAS.

    Where the registry is away, the version that it named last is taken from the cache, with a
    warning in the log ``pi10.registry`` (standard error). Raises SettingError, ModelError, or
    RegistryAwayError if nothing is cached.
    """
    if not is_reference(name_or_folder):
        return package.find(name_or_folder)
    resolved = resolve(name_or_folder, environ)
    if resolved.away:
        LOG.warning(
            "%s; using version %s (%s) of %s from the cache, as the registry said at %s",
            resolved.away, resolved.version, resolved.digest[:8], resolved.reference,
            resolved.since,
        )  # fmt: skip
    return resolved.folder


def pinned(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """``text``, with an alias replaced by the version that it stands for now.

    For work that must use one model throughout, and be done again with the same one.
    """
    if not is_reference(text):
        return text
    resolved = resolve(text, environ)
    return str(ModelReference(resolved.reference.name, version=resolved.version))


def resolve(
    text: str,
    environ: Mapping[str, str] = os.environ,
    *,
    cache: Cache | None = None,
    keep: bool = False,
) -> Resolved:
    """Ask the registry which version ``text`` names, and fetch its package unless it is cached.

    A version's number always means the same bytes, so a cached one is not asked for again; an
    alias is asked for at each call. keep: for services, which must go on: where the version that an
    alias names now fails verification, the one before, from the cache. Raises as :func:`find`.
    """
    reference = ModelReference.parse(text)
    registry = Registry.from_environ(environ)
    cache = cache or Cache(default_folder(environ))
    note = cache.note(registry.address, reference)
    whole = cache.package(note.digest) if note else None
    if note and whole and reference.version:
        return Resolved(reference, whole, note.version, note.digest, note.at)
    try:
        version = registry.version(reference)
        if note and whole and version.digest == note.digest and version.version == note.version:
            folder, digest = whole, note.digest
        else:
            folder, digest = _package(registry, cache, version)
    except RegistryAwayError as error:
        kept = _kept(cache, note)
        if note is None or kept is None:
            raise RegistryAwayError(
                f"{error.message}; {reference} is not in the cache {cache.folder}, so it cannot be"
                " used without the registry"
            ) from None
        return Resolved(reference, kept, note.version, note.digest, note.at, error.message)
    except ModelError as error:
        kept = _kept(cache, note) if keep else None
        if note is None or kept is None:
            raise
        return Resolved(reference, kept, note.version, note.digest, note.at, error.message)
    note = _noted(cache, registry, reference, version.version, digest)
    return Resolved(reference, folder, note.version, digest, note.at)


def _kept(cache: Cache, note: Note | None) -> Path | None:
    """The cached package of a note, though graphs beside ``model.onnx`` may be missing."""
    return cache.package(note.digest, partial=True) if note else None


def fetched_anew(text: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The package that the registry holds now, also where it is cached: as others will get it.

    Raises as :func:`find`, and ModelError if it is not what was registered, or not what it was.
    """
    registry = Registry.from_environ(environ)
    cache = Cache(default_folder(environ))
    version = registry.version(ModelReference.parse(text))
    number = ModelReference(version.name, version=version.version)
    before = cache.note(registry.address, number)
    folder, digest = cache.add(registry, version)
    if before and before.digest != digest:
        raise ModelError(f"{version} is not what it was at {before.at}; register it anew")
    _noted(cache, registry, number, version.version, digest)
    return folder


def _package(registry: Registry, cache: Cache, version: ModelVersion) -> tuple[Path, str]:
    """The package of a version: cached, or fetched now."""
    number = ModelReference(version.name, version=version.version)
    before: Note | None = cache.note(registry.address, number)
    digest = version.digest or (before.digest if before else "")
    if before and before.digest != digest:
        raise ModelError(
            f"{version} had the SHA-256 {before.digest[:16]}… at {before.at}, and now has"
            f" {digest[:16]}…; a version never changes: register the package anew"
            f" (if {version.name} was deleted and made again, delete the cache {cache.folder})"
        )
    folder = cache.package(digest) if digest else None
    if folder is None:
        folder, digest = cache.add(registry, version)
        if before and before.digest != digest:
            raise ModelError(f"{version} is not what it was at {before.at}; register it anew")
    if before is None:
        _noted(cache, registry, number, version.version, digest)
    return folder, digest


def _noted(
    cache: Cache, registry: Registry, reference: ModelReference, version: str, digest: str
) -> Note:
    """Remember what the registry said, where the cache can be written: it may be filled before."""
    note = Note.now(registry.address, reference, version, digest)
    try:
        cache.write(note, reference)
    except OutputError as error:
        LOG.warning("%s", error)
    return note
