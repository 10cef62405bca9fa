"""The sample as pictures in folders, to be sorted in a file manager: a folder is a label."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.labelling.crops import Located
from pi10_classifier.labelling.formats.given import Given, Reading, picture_stem

UNSORTED = "unsorted"
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)
_NOT_IN_NAMES = '<>:"/\\|?*%'
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp")
_OF_THE_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})


def folder_name(label: str) -> str:
    """A label as the name of a folder, on Windows too: what it does not allow is escaped (%2F)."""
    name = "".join(
        quote(char, safe="") if char in _NOT_IN_NAMES or ord(char) < 32 else char for char in label
    )
    if name.endswith((".", " ")) or _DEVICE.match(name):
        place = len(name) - 1 if name.endswith((".", " ")) else 0
        name = f"{name[:place]}%{ord(name[place]):02X}{name[place + 1 :]}"
    return name


def read_folders(root: Path) -> Reading:
    """Read a folder of sorted pictures: by their names alone, the pictures are not opened.

    Pictures that lie in ``unsorted`` or in no folder have no label yet. Folders in folders are a
    hierarchy. Links are not followed. Raises SettingError where there is no picture.
    """
    reading = Reading("crops")
    for path in _files(root):
        if path.suffix.lower() not in _SUFFIXES:
            reading.strange.append(path.relative_to(root).as_posix())
            continue
        names = [unquote(part) for part in path.relative_to(root).parts[:-1]]
        if names and names[0].casefold() == UNSORTED:
            names = []
        # a file manager names copies "name (1)" or "name - Copy"; our names have no space
        key = path.stem.split(" ", 1)[0].casefold()
        reading.given.append(Given(key, tuple(names), "/".join(names)))
    if not reading.given:
        raise SettingError(
            f"{root} holds no picture; give a folder as pi10 validate crops writes it, with the "
            "pictures sorted into the folders of the labels"
        )
    return reading


def _files(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise SettingError(f"{error.filename} cannot be read: {error.strerror}") from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _OF_THE_SYSTEM:
                yield Path(folder, name)


def write_folders(
    root: Path,
    pictures: Iterable[tuple[Located, bytes]],
    labels: Sequence[str],
    *,
    by_prediction: bool,
) -> int:
    """Write pictures into ``unsorted`` or the folders of the predicted classes; how many.

    Every label gets a folder. A picture that lies anywhere below ``root`` is not written again, so
    that a larger sample adds to what is sorted. Raises SettingError and OutputError.
    """
    there = _held(root) if root.exists() else set()
    names = [folder_name(label) for label in labels]
    try:
        for name in names if by_prediction else [UNSORTED, *names]:
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, root) from error
    written = 0
    for particle, png in pictures:
        stem = picture_stem(particle.particle_id)
        if stem.casefold() in there:
            continue
        place = folder_name(particle.predicted) if by_prediction else UNSORTED
        write_atomically(root / place / f"{stem}.png", png)
        written += 1
    return written


def _held(root: Path) -> set[str]:
    if not root.is_dir():
        raise SettingError(f"--out {root} is a file; give a folder")
    return {path.stem.split(" ", 1)[0].casefold() for path in _files(root)}
