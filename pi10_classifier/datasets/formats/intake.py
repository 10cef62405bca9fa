"""A file of labels, read in whichever of the known formats it is."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from pi10_classifier.datasets.formats.biigle import read_biigle
from pi10_classifier.datasets.formats.coco import is_coco, read_coco
from pi10_classifier.datasets.formats.cvat import read_cvat
from pi10_classifier.datasets.formats.image_labels import ImageLabels, LabelFile
from pi10_classifier.datasets.formats.label_studio import read_tasks
from pi10_classifier.errors import SettingError
from pi10_classifier.sources.base import LIMITS, Limits

KNOWN = (
    "a COCO file, an export of Label Studio (JSON or JSON-MIN), of CVAT (for images 1.1), or a CSV "
    "report of image labels of BIIGLE"
)
_SUFFIXES = (".json", ".xml", ".csv")


def read_label_file(path: Path, limits: Limits = LIMITS) -> LabelFile:
    """Read a file, or the one that a zip holds. Raises SettingError for other content."""
    try:
        if zipfile.is_zipfile(path):
            with tempfile.TemporaryDirectory() as folder:
                inner = _unpacked(path, Path(folder), limits)
                return _read(inner, f"{path}: {inner.name}", limits)
        return _read(path, str(path), limits)
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror or error}") from error


def _read(path: Path, title: str, limits: Limits) -> LabelFile:
    size = path.stat().st_size
    if size > limits.member_bytes:
        raise SettingError(
            f"{title} has {size:,} bytes; the cap is {limits.member_bytes:,}; export in parts"
        )
    with path.open("rb") as stream:
        head = stream.read(2**16).removeprefix(b"\xef\xbb\xbf").lstrip()
        stream.seek(0)
        if head.startswith(b"<"):
            return _file(title, "cvat", read_cvat(stream, title))
        if not head.startswith((b"[", b"{")):
            if not head or b"\0" in head:
                raise SettingError(f"{title} is {'binary' if head else 'empty'}; give {KNOWN}")
            return _file(title, "biigle", read_biigle(stream, title))
        content = _json(stream.read(), title)
    if is_coco(content):
        return _file(title, "coco", read_coco(content, title))
    del content
    return _file(title, "label-studio", read_tasks(path, title))


def _file(title: str, form: str, images: list[ImageLabels]) -> LabelFile:
    if not any(image.labels for image in images):
        parts = sum(image.parts for image in images)
        why = f"; its {parts:,} marks cover parts of images alone" if parts else ""
        raise SettingError(f"{title} has no label of a whole image{why}")
    return LabelFile(title, form, images)


def _json(data: bytes, title: str) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{title} is no JSON ({str(error)[:200]}); give {KNOWN}") from error


def _unpacked(path: Path, folder: Path, limits: Limits) -> Path:
    """The one file of labels in a zip, as CVAT and BIIGLE hand them out, in a folder of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [
                info for info in archive.infolist() if info.filename.lower().endswith(_SUFFIXES)
            ]
            if len(found) != 1:
                names = ", ".join(info.filename[-60:] for info in found[:5]) or "none"
                raise SettingError(
                    f"{path} holds {len(found)} files of labels ({names}); unpack it, and give one"
                )
            (info,) = found
            if info.file_size > limits.member_bytes:
                raise SettingError(
                    f"{path}: {info.filename[-60:]} has {info.file_size:,} bytes; the cap is "
                    f"{limits.member_bytes:,}; export in parts"
                )
            target = folder / f"labels{Path(info.filename).suffix.lower()}"
            # never more than the size that the zip tells: its reader ends there
            with archive.open(info) as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream)
            return target
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise SettingError(
            f"{path} is a damaged or encrypted zip ({error}); save it anew"
        ) from error
