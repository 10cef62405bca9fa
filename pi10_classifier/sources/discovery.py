"""Inputs -> units of work: what is met below files, folders and buckets, each once.

Folders are walked in the order of their names. One that links or mounts reach again is
entered once, by its own name where it has one; ``input_rules`` says what is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.instrument.names import Kind, kind_of
from pi10_classifier.sources.archives import is_archive
from pi10_classifier.sources.base import LIMITS, Limits, Unit
from pi10_classifier.sources.input_rules import Notes
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
    notes: Notes | None = None,
    *,
    files_once: bool = True,
) -> Iterator[Unit]:
    """Find the units of all inputs: files, folders, archives and ``s3://bucket/prefix``.

    notes: told of what is left out. files_once: of files that links make one, only one is
    an input. Raises SettingError where an input does not exist or its storage is not set up.
    """
    notes = notes if notes is not None else Notes()
    yield from _each_once(
        _discovered(inputs, limits, environ, FolderWalk(limits, notes, files_once))
    )


def _each_once(units: Iterator[Unit]) -> Iterator[Unit]:
    seen: set[str] = set()
    for unit in units:
        if unit.name not in seen:
            seen.add(unit.name)
            yield unit


def _discovered(
    inputs: Sequence[str], limits: Limits, environ: Mapping[str, str], walk: FolderWalk
) -> Iterator[Unit]:
    loose: dict[Path, list[LooseFile]] = {}
    walk.roots = [Path(text).resolve() for text in inputs if not text.startswith("s3://")]
    for text in inputs:
        if text.startswith("s3://"):
            # the S3 client takes longer to import than a small bin takes to classify
            from pi10_classifier.sources.s3 import discover_s3

            yield from discover_s3(text, limits, environ, walk.notes)
        else:
            yield from discover_local(text, limits, loose, walk)
    yield from walk.through_links()
    for parent in sorted(loose):
        yield from named_files(parent, loose[parent], limits)


def check_inputs(inputs: Sequence[str]) -> None:
    """Refuse inputs that are mistyped, or that would be counted twice, before any work."""
    if not inputs:
        raise SettingError("no input given; name a file, folder, tar, zip or s3://bucket/prefix")
    for text in inputs:
        if "://" in text and not text.startswith("s3://"):
            raise SettingError(f"input {text!r}: only local paths and s3:// are read")
        if not text.strip():  # an unset variable of a script; Path would make it "."
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


def check_images(inputs: Sequence[str]) -> None:
    """Refuse inputs that are all single files of another kind, before an empty result."""
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
        hint = "; a table of labels is for pi10 dataset" if _is_table(others[0]) else ""
        raise SettingError(
            f"input {others[0]!r} is no image and no archive (it begins {head!r}); name TIFF, PNG "
            f"or JPEG files, a folder, a tar or zip, or s3://bucket/prefix{hint}"
        )


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".parquet"))


def _inside(inner: str, outer: str) -> SettingError:
    return SettingError(
        f"input {inner!r} lies inside, or is, {outer!r}: "
        "its images would be counted twice; leave one out"
    )
