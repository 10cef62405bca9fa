"""What is an input: the one rule for ``classify``, ``watch``, ``dataset``, OSCAR and the API.

It judges what is met *below* a given input, by its path there. What a user names is read
whatever its name or the folders above it.
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

# folders that file managers, network storage and systems make beside the files of people
_SYSTEM_FOLDERS = frozenset(
    {
        "@eadir", "@recycle", "@recently-snapshot", "@tmp", "@sharebin", "#recycle", "#snapshot",
        "~snapshot", "$recycle.bin", "recycler", "recycled", "system volume information",
        "__macosx", "lost+found", "network trash folder", "temporary items",
    }
)  # fmt: skip
# under these names programs write until a file is whole, and then rename it
_UNFINISHED = (
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".opdownload", ".download",
    ".writing", ".uploading", ".incomplete", ".aria2", ".part.minio", ".!sync", ".!ut", ".lock",
)  # fmt: skip
# an image or archive, and behind it what a copying program hangs on: aws "a.tif.6eF3B2c1"
_COPYING = re.compile(
    r".*\.(?:tiff?|png|jpe?g|tar|zip|tgz|t[bx]z2?|[gx]z|bz2)"
    r"\.(?:(?=[0-9]*[a-f])[0-9a-f]{8}|~[0-9a-z]+)",
    re.DOTALL,
)
_WHOLE = (*SUFFIXES, ".txt")
_SHOWN = 3


@lru_cache(maxsize=1024)  # the members of an archive lie in few folders
def _folder_reason(folder: str) -> str:
    for part in folder.replace("\\", "/").split("/"):
        if is_left_folder(part):
            return f"in {part!r}, a hidden or system folder"
    return ""


def is_left_folder(name: str) -> bool:
    """True for a folder that is not looked into: hidden, or made by a system or storage."""
    if name.startswith("."):
        return name not in (".", "..")
    return name.lower() in _SYSTEM_FOLDERS


def skip_reason(member: str) -> str:
    """Why what lies at ``member``, a path below an input, is none; empty where it is one."""
    folder, base = split_member(member)
    if not base:
        return "a folder marker"
    if folder and (why := _folder_reason(folder)):
        return why
    if base[0] == ".":
        return "a hidden file"
    if base[0] == "~" or base[-1] == "~":
        return "a backup or a lock of an editor"
    low = base.lower()
    if low.endswith(_WHOLE):
        return ""
    return "still being written" if low.endswith(_UNFINISHED) or _COPYING.fullmatch(low) else ""


_ONE_FORMAT = {other: its.suffixes[0] for its in FORMATS for other in its.suffixes[1:]}


def same_name(member: str) -> str:
    r"""A key that is equal for two spellings of one file: ``\`` and ``/``, ``.TIFF`` and ``.tif``,
    composed and decomposed letters. The instrument's own names are equal in any case.
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
    return f"{folder}{slash}{stem}{_ONE_FORMAT.get(suffix, suffix)}"


def is_read_elsewhere(link: Path, roots: Iterable[Path]) -> bool:
    """True where a link leads to a file that is met at its own place below one of ``roots``."""
    real = Path(os.path.realpath(link))
    if not real.is_file():  # a link to nothing, or round in a circle
        return False
    for root in roots:
        if real.is_relative_to(root) and not skip_reason(real.relative_to(root).as_posix()):
            return True
    return False


@dataclass(slots=True)
class Notes:
    """What a run did not look into, to be said at its end."""

    folders: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    def left(self, folder: str) -> None:
        """A hidden or system folder."""
        self._add("folders", folder)

    def again(self, folder: str) -> None:
        """A folder that links or mounts reach a second time."""
        self._add("repeated", folder)

    def link(self, file: str) -> None:
        """A file that links reach a second time."""
        self._add("linked", file)

    def _add(self, kind: str, path: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown: list[str] = getattr(self, kind)
        if len(shown) < _SHOWN:
            shown.append(path)

    def warnings(self) -> list[str]:
        """One line for each kind that was met."""
        said = {
            "folders": "hidden or system folders were not looked into",
            "repeated": "folders were reached again by links and counted once",
            "linked": "files were reached again by links and counted once",
        }
        lines = []
        for kind, what in said.items():
            shown, count = getattr(self, kind), self._counts.get(kind, 0)
            if count:
                more = f" and {count - len(shown):,} more" if count > len(shown) else ""
                lines.append(f"{count:,} {what}: {', '.join(shown)}{more}")
        return lines
