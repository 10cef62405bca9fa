"""What a file of another tool says of images, and which image of the inputs is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pi10_classifier.datasets.label_map import tidy_label
from pi10_classifier.datasets.records import Entry, LeftOut
from pi10_classifier.errors import Code, SettingError

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
# Label Studio puts it before the name of an uploaded file
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")


@dataclass(slots=True)
class ImageLabels:
    """What is said of one image. name: as in the file.

    labels: distinct, in their order; none where it has no label yet. parts: marks that cover only a
    part of the image, such as boxes, and so say nothing of the whole.
    """

    name: str
    labels: list[str] = field(default_factory=list)
    parts: int = 0

    def add(self, label: str) -> None:
        label = tidy_label(label)
        if label and label not in self.labels:
            self.labels.append(label)


class LabelFile:
    """The labels of a file, given to images by their names.

    An image is found by its path with the name of its source, by its path, or by its file's name
    where no other image of the label file has that. File extensions do not count: the tools show
    PNG or JPEG where the instrument writes TIFF.
    """

    def __init__(self, title: str, form: str, images: Iterable[ImageLabels]) -> None:
        self.title, self.form = title, form
        self.images: dict[str, ImageLabels] = {}
        self._used: dict[str, str] = {}
        stems: dict[str, list[str]] = {}
        for image in images:
            key = _key(image.name)
            before = self.images.setdefault(key, image)
            if before is not image:  # said twice
                before.parts += image.parts
                for label in image.labels:
                    before.add(label)
                continue
            base = key.rpartition("/")[2]
            for stem in dict.fromkeys((base, _UPLOAD.sub("", base, count=1))):
                stems.setdefault(stem, []).append(key)
        self._by_stem = {stem: keys[0] for stem, keys in stems.items() if len(keys) == 1}
        self._shared = {stem for stem, keys in stems.items() if len(keys) > 1}

    def give(self, entry: Entry) -> tuple[Entry, LeftOut | None]:
        """The entry with its label in place of its folder's; or why it is left out.

        Raises SettingError where a name fits two images.
        """
        path = _key(entry.member)
        full, stem = _key(f"{entry.source}/{entry.member}"), path.rpartition("/")[2]
        key = next((key for key in (full, path) if key in self.images), self._by_stem.get(stem))
        if key is None:
            why = f"{self.title} does not name it"
            if stem in self._shared:
                why = f"{self.title} has several images of its name, none with its path"
            return entry, _left(entry, Code.UNKNOWN_LABEL, f"{why}; label it, or leave it away")
        image, title = self.images[key], f"{entry.source}: {entry.member}"
        if self._used.setdefault(key, title) != title:
            raise SettingError(
                f"{self.title}: {image.name!r} fits {self._used[key]} and {title}; write the "
                "folder before the name, or give the inputs one after another"
            )
        if len(image.labels) > 1:
            several = ", ".join(map(repr, image.labels[:10]))
            why = f"{self.title} labels it {several}; keep the right one"
            return entry, _left(entry, Code.MISLABELLED, why)
        if not image.labels:
            why = f"{self.title} has no label of it yet; label it, or leave it away"
            if image.parts:
                why = (
                    f"{self.title} marks {image.parts} parts of it, and labels of whole images "
                    "alone are taken; label the image"
                )
            return entry, _left(entry, Code.UNKNOWN_LABEL, why)
        return replace(entry, label=image.labels[0]), None

    def unused(self) -> list[LeftOut]:
        """The labelled images of the file that are not among the inputs."""
        why = "labelled, but no input holds an image of this name; name its folder or archive too"
        return [
            LeftOut(self.title, image.name, Code.OBJECT_GONE.value, why)
            for key, image in self.images.items()
            if key not in self._used and image.labels
        ]


def _left(entry: Entry, code: Code, message: str) -> LeftOut:
    return LeftOut(entry.source, entry.member, code.value, message)


def _key(name: str) -> str:
    """A path to compare: with ``/``, without extension, folders of no meaning, and case."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return _SUFFIX.sub("", "/".join(parts)).casefold()
