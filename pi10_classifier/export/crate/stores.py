"""Where a crate is written: a folder or a zip. Bytes are hashed while they are copied."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.export.crate.run_files import RunFile
from pi10_classifier.foundation.files import atomic_path

METADATA, PREVIEW = "ro-crate-metadata.json", "ro-crate-preview.html"
# already compressed: once more costs time and saves nothing
_COMPRESSED = (".parquet", ".zip", ".png")
# the earliest time that zip files know: the same files are the same bytes
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it was written. name: in the crate. pack: the zip that holds it, or ""."""

    name: str
    bytes: int
    sha256: str
    pack: str = ""


class Store(Protocol):
    """Takes files one after another; none is held in memory."""

    def add(self, file: RunFile) -> Stored:
        """Copy a file. Raises SettingError where it cannot be read."""
        ...

    def write(self, name: str, data: bytes) -> Stored: ...


class FolderStore:
    """Files in a folder, flushed to the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, file: RunFile) -> Stored:
        with _opened(file) as source, self._created(file.name) as target:
            return Stored(file.name, *_copy(source, target))

    def write(self, name: str, data: bytes) -> Stored:
        with self._created(name) as target:
            target.write(data)
        return Stored(name, len(data), hashlib.sha256(data).hexdigest())

    @contextmanager
    def _created(self, name: str) -> Iterator[IO[bytes]]:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())


class ZipStore:
    """Members of a zip file; what is compressed already is stored as it is."""

    def __init__(self, archive: zipfile.ZipFile, pack: str = "") -> None:
        self.archive, self.pack = archive, pack

    def add(self, file: RunFile) -> Stored:
        with (
            _opened(file) as source,
            # the size is not known ahead: the file may be larger than 2 GiB
            self.archive.open(_member(file.name), "w", force_zip64=True) as target,
        ):
            return Stored(file.name, *_copy(source, target), self.pack)

    def write(self, name: str, data: bytes) -> Stored:
        member = _member(name)
        self.archive.writestr(member, data, member.compress_type)
        return Stored(name, len(data), hashlib.sha256(data).hexdigest(), self.pack)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.external_attr = 0o644 << 16
    info.create_system = 3  # whatever the system, the same bytes
    is_stored = name.endswith(_COMPRESSED)
    info.compress_type = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
    return info


@contextmanager
def _opened(file: RunFile) -> Iterator[IO[bytes]]:
    try:
        stream = file.path.open("rb")
    except OSError as error:
        raise SettingError(f"{file.path} cannot be read: {error.strerror or error}") from error
    with stream:
        yield stream


def _copy(source: IO[bytes], target: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        target.write(chunk)
    return size, digest.hexdigest()


@contextmanager
def new_zip(out: Path) -> Iterator[ZipStore]:
    """A store of a zip that gets its name once it is whole. Raises OutputError."""
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        yield ZipStore(archive)


@contextmanager
def new_folder(out: Path) -> Iterator[FolderStore]:
    """A store of a folder that gets its name once it is whole; another crate there is replaced.

    Raises OutputError.
    """
    trial = out.with_name(f".{out.name[:150]}.{os.getpid()}.part")
    before = out.with_name(f".{out.name[:150]}.{os.getpid()}.old")
    try:
        shutil.rmtree(trial, ignore_errors=True)
        trial.mkdir()
        yield FolderStore(trial)
        if out.exists():
            out.rename(before)
        trial.rename(out)
        shutil.rmtree(before, ignore_errors=True)
    except BaseException as error:
        if before.exists() and not out.exists():
            before.rename(out)
        if isinstance(error, OSError):
            raise output_error(error, out) from error
        raise
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def check_out(out: Path, *, zenodo: bool, overwrite: bool) -> None:
    """Raises SettingError where ``out`` must not be written to; before any work is done."""
    is_zip = out.suffix.lower() == ".zip"
    if zenodo and is_zip:
        raise SettingError(
            f"--out is {out}, but a record is made of single files; name a folder for --zenodo"
        )
    if not out.resolve().parent.is_dir():
        raise SettingError(f"--out is {out}, but there is no folder {out.parent}; make it first")
    if not out.exists() and not out.is_symlink():
        return
    if is_zip != out.is_file():
        kind = "a file" if out.is_file() else "a folder"
        raise SettingError(f"--out {out} is {kind}; give another name")
    if not overwrite:
        raise SettingError(f"{out} is there already; add --overwrite, or name another --out")
    if out.is_dir() and (out.is_symlink() or (any(out.iterdir()) and not holds_crate(out))):
        raise SettingError(f"{out} holds no crate and is kept; name another --out")


def holds_crate(folder: Path) -> bool:
    """Whether all that would be lost with a folder is a crate of this program."""
    return (
        (folder / METADATA).is_file()
        and (folder / "run.json").is_file()
        and not (folder / "journal").exists()
    )


def packed(
    store: FolderStore, files: Sequence[RunFile], name: str, most_bytes: int
) -> tuple[list[Stored], list[Stored]]:
    """Put files into zips of at most so many bytes, or one file each: the zips, and the files.

    Unpacked into one folder, they give the files back under the names that they had.
    """
    groups = grouped(files, most_bytes)
    packs: list[Stored] = []
    members: list[Stored] = []
    for number, group in enumerate(groups, 1):
        place = f"{number:0{len(str(len(groups)))}}-of-{len(groups)}."
        pack = f"{name}.{place if len(groups) > 1 else ''}zip"
        path = store.folder / pack
        with zipfile.ZipFile(path, "x") as archive:
            inside = ZipStore(archive, pack)
            members += [inside.add(file) for file in group]
        with path.open("rb+") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        packs.append(Stored(pack, path.stat().st_size, digest))
    return packs, members


def grouped(files: Sequence[RunFile], most_bytes: int) -> list[list[RunFile]]:
    """Files in their order, cut before a group would exceed so many bytes."""
    groups: list[list[RunFile]] = []
    room = 0
    for file in files:
        size = file.path.stat().st_size
        if not groups or size > room:
            groups.append([])
            room = most_bytes
        groups[-1].append(file)
        room -= size
    return groups
