"""Finds the units of work in files, folders, archives and buckets, each of them once.

Folders are walked in the order of their names. A folder that links or mounts reach again is
entered only once, under its own path where that lies in the inputs. ``input_rules`` decides
what is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import is_archive
from pi10_classifier.sources.base import LIMITS, Limits, Unit
from pi10_classifier.sources.input_rules import SkippedPaths
from pi10_classifier.sources.local import (
    FolderWalk,
    LooseFile,
    discover_local,
    holds_image,
    is_archive_file,
    named_files,
)


def discover(
    inputs: Sequence[str],
    limits: Limits = LIMITS,
    environ: Mapping[str, str] = os.environ,
    notes: SkippedPaths | None = None,
    *,
    files_once: bool = True,
) -> Iterator[Unit]:
    """Find the units of all inputs: files, folders, archives and ``s3://bucket/prefix``.

    notes: collects what is skipped. files_once: read a file once even where several links lead
    to it. Raises SettingError where an input does not exist or S3 is not configured.
    """
    notes = notes if notes is not None else SkippedPaths()
    yield from _each_once(
        _discover_all(inputs, limits, environ, FolderWalk(limits, notes, files_once))
    )


def _each_once(units: Iterator[Unit]) -> Iterator[Unit]:
    seen: set[str] = set()
    for unit in units:
        if unit.name not in seen:
            seen.add(unit.name)
            yield unit


def _discover_all(
    inputs: Sequence[str], limits: Limits, environ: Mapping[str, str], walk: FolderWalk
) -> Iterator[Unit]:
    loose: dict[Path, list[LooseFile]] = {}
    walk.roots = [Path(text).resolve() for text in inputs if not text.startswith("s3://")]
    for text in inputs:
        if text.startswith("s3://"):
            # imported late: the S3 client's import takes longer than classifying a small bin
            from pi10_classifier.sources.s3 import discover_s3

            yield from discover_s3(text, limits, environ, walk.skipped)
        else:
            yield from discover_local(text, limits, loose, walk)
    yield from walk.linked_folders()
    for parent in sorted(loose):
        yield from named_files(parent, loose[parent], limits)


def check_inputs(inputs: Sequence[str]) -> None:
    """Raise SettingError for inputs that are mistyped or would be counted twice."""
    if not inputs:
        raise SettingError("no input given; name a file, folder, tar, zip or s3://bucket/prefix")
    for text in inputs:
        if "://" in text and not text.startswith("s3://"):
            raise SettingError(
                f"input {text!r} is neither a local path nor an s3:// address; give one of these"
            )
        if not text.strip():  # e.g. an unset variable in a script; Path would make it "."
            raise SettingError("an input is empty; name a file, folder, tar, zip or s3:// address")
        if not text.startswith("s3://") and not Path(text).exists():
            raise SettingError(f"input {text!r} does not exist; check the path")
    local: dict[Path, str] = {}
    for text in dict.fromkeys(inputs):
        if not text.startswith("s3://"):
            path = Path(text).resolve()
            if path in local:
                raise _inside(text, local[path])
            local[path] = text
    for path, text in local.items():
        for parent in path.parents:
            if parent in local:
                raise _inside(text, local[parent])
    last = ""
    for text in sorted({text for text in inputs if text.startswith("s3://")}):
        if last and text.startswith(last):
            raise _inside(text, last)
        last = text


def check_storage(inputs: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise SettingError where an input lies in S3 and S3 is not configured."""
    if any(text.startswith("s3://") for text in inputs):
        # imported late, as in ``_discover_all``
        from pi10_classifier.sources.s3_client import S3Client

        S3Client(environ)


def check_images(inputs: Sequence[str]) -> None:
    """Raise SettingError where every input is a single file that is neither image nor archive."""
    others = []
    for text in inputs:
        path = Path(text)
        if text.startswith("s3://") or not path.is_file():
            return
        if kind_of(path.name) in (Kind.IMAGE, Kind.HITS_MISSES) or is_archive(path.name):
            return
        if holds_image(path) or is_archive_file(path):
            return
        others.append(text)
    if others:
        with Path(others[0]).open("rb") as stream:
            head = stream.read(16)
        hint = "; for a table of labels use pi10 dataset" if _is_table(others[0]) else ""
        raise SettingError(
            f"input {others[0]!r} is neither an image nor an archive (it begins with {head!r}); "
            f"name TIFF, PNG or JPEG files, a folder, a tar or zip, or s3://bucket/prefix{hint}"
        )


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".parquet"))


def _inside(inner: str, outer: str) -> SettingError:
    return SettingError(
        f"input {inner!r} is the same as {outer!r} or lies inside it: "
        "its images would be counted twice; leave one out"
    )
