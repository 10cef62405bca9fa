"""Decides which files are inputs, for ``classify``, ``watch``, ``dataset``, OSCAR and the API.

The rules apply to the path of a file *below* a given input. An input that the user names is
always read, whatever its own name or the folders above it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pi10_classifier.instrument.formats import FORMATS, SUFFIXES
from pi10_classifier.instrument.names import names_particle, split_member

# folders that file managers, network storage and operating systems create
_SYSTEM_FOLDERS = frozenset(
    {
        "@eadir", "@recycle", "@recently-snapshot", "@tmp", "@sharebin", "#recycle", "#snapshot",
        "~snapshot", "$recycle.bin", "recycler", "recycled", "system volume information",
        "__macosx", "lost+found", "network trash folder", "temporary items",
    }
)  # fmt: skip
# programs write under these names and rename the file when it is complete
_UNFINISHED = (
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".opdownload", ".download",
    ".writing", ".uploading", ".incomplete", ".aria2", ".part.minio", ".!sync", ".!ut", ".lock",
)  # fmt: skip
# an image or archive with the suffix of a copying program, such as aws's "a.tif.6eF3B2c1"
_COPYING = re.compile(
    rf".*(?:{'|'.join(map(re.escape, SUFFIXES))}|\.(?:tar|zip|tgz|t[bx]z2?|[gx]z|bz2))"
    r"\.(?:(?=[0-9]*[a-f])[0-9a-f]{8}|~[0-9a-z]+)",
    re.DOTALL,
)
_COMPLETE = (*SUFFIXES, ".txt")
_MAX_SHOWN = 3


@lru_cache(maxsize=1024)  # the members of an archive lie in few folders
def _folder_reason(folder: str) -> str:
    for part in folder.replace("\\", "/").split("/"):
        if is_skipped_folder(part):
            return f"in {part!r}, a hidden or system folder"
    return ""


def is_skipped_folder(name: str) -> bool:
    """True for a folder that is not entered: hidden, or created by a system or storage."""
    if name.startswith("."):
        return name not in (".", "..")
    return name.lower() in _SYSTEM_FOLDERS


def skip_reason(member: str) -> str:
    """Why ``member``, a path below an input, is skipped; empty where it is an input."""
    folder, base = split_member(member)
    if not base:
        return "a folder marker"
    if folder and (reason := _folder_reason(folder)):
        return reason
    if base[0] == ".":
        return "a hidden file"
    if base[0] == "~" or base[-1] == "~":
        return "a backup or lock file of an editor"
    low = base.lower()
    if low.endswith(_COMPLETE):
        return ""
    return "still being written" if low.endswith(_UNFINISHED) or _COPYING.fullmatch(low) else ""


_USUAL_SUFFIX = {other: known.suffixes[0] for known in FORMATS for other in known.suffixes[1:]}


def normalised_name(member: str) -> str:
    r"""A key that is equal for all spellings of one file's path.

    ``\`` equals ``/``, ``.TIFF`` equals ``.tif``, and composed letters equal decomposed ones.
    The instrument's own names are compared without regard to case.
    """
    name = member if member.isascii() else unicodedata.normalize("NFC", member)
    name = name.replace("\\", "/")
    folder, slash, base = name.rpartition("/")
    if slash and (name[0] == "/" or "//" in name or "/." in f"/{folder}"):
        folder = "/".join(part for part in folder.split("/") if part not in ("", "."))
        slash = "/" if folder else ""
    stem, dot, suffix = base.rpartition(".")
    suffix = f"{dot}{suffix}".lower()
    if names_particle(base):
        stem = stem.lower()
    return f"{folder}{slash}{stem}{_USUAL_SUFFIX.get(suffix, suffix)}"


def is_read_elsewhere(link: Path, roots: Iterable[Path]) -> bool:
    """True where a link leads to a file that is itself an input below one of ``roots``."""
    real = Path(os.path.realpath(link))
    if not real.is_file():  # a broken or circular link
        return False
    for root in roots:
        if real.is_relative_to(root) and not skip_reason(real.relative_to(root).as_posix()):
            return True
    return False


@dataclass(slots=True)
class SkippedPaths:
    """Folders and files that a run skipped, for the warnings at its end."""

    folders: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    def add_folder(self, folder: str) -> None:
        """Note a hidden or system folder."""
        self._add("folders", folder)

    def add_repeated_folder(self, folder: str) -> None:
        """Note a folder that links or mounts reach a second time."""
        self._add("repeated", folder)

    def add_repeated_file(self, file: str) -> None:
        """Note a file that links reach a second time."""
        self._add("linked", file)

    def add_results(self, folder: str) -> None:
        """Note a folder that holds the results of a run."""
        self._add("results", folder)

    def _add(self, kind: str, path: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown: list[str] = getattr(self, kind)
        if len(shown) < _MAX_SHOWN:
            shown.append(path)

    def warnings(self) -> list[str]:
        """One line for each kind of path that was skipped."""
        messages = {
            "folders": "hidden or system folders were skipped",
            "repeated": "folders were reached again through links and counted once",
            "linked": "files were reached again through links and counted once",
            "results": "folders hold results of earlier runs, which were skipped; other files "
            "there were read",
        }
        lines = []
        for kind, message in messages.items():
            shown, count = getattr(self, kind), self._counts.get(kind, 0)
            if count:
                more = f" and {count - len(shown):,} more" if count > len(shown) else ""
                lines.append(f"{count:,} {message}: {', '.join(shown)}{more}")
        return lines
