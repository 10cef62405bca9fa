"""CVAT for images 1.1: an XML file with a tag for each image (https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import IO
from xml.parsers import expat  # nosec B407  documents with a type declaration are refused
from xml.sax.saxutils import escape, quoteattr  # nosec B406  only written, nothing is parsed

from pi10_classifier.datasets.formats.image_labels import ImageLabels
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CHUNK = 1 << 20
_DEEPEST = 100
# elements beside the tags of an image that mark a part of it
_SHAPES = frozenset(
    {"box", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"}
)


class _Reader:
    """Gathers images while the file is parsed; no tree is made, and no entity expanded."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.images: list[ImageLabels] = []
        self.path: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self.path and name != "annotations":
            raise SettingError(
                f"{self.title} begins with <{name[:60]}>, not <annotations>; export it as "
                "`CVAT for images 1.1`"
            )
        if len(self.path) >= _DEEPEST:
            raise SettingError(f"{self.title} has elements in {_DEEPEST} others; export it again")
        if self.path == ["annotations"] and name == "image":
            if not attributes.get("name"):
                raise self._error("an image has no name")
            self.images.append(ImageLabels(attributes["name"]))
        elif self.path == ["annotations"] and name == "track":
            raise self._error("it has tracks, as of a video; export it as `CVAT for images 1.1`")
        elif self.path == ["annotations", "image"]:
            if name == "tag":
                if not attributes.get("label"):
                    raise self._error("a tag has no label")
                self.images[-1].add(attributes["label"])
            elif name in _SHAPES:
                self.images[-1].parts += 1
        self.path.append(name)

    def _end(self, name: str) -> None:
        self.path.pop()

    def _doctype(self, *_: object) -> None:
        raise self._error("it declares a document type, which CVAT does not write, and is not read")

    def _error(self, problem: str) -> SettingError:
        return SettingError(f"{self.title}, line {self.parser.CurrentLineNumber}: {problem}")


def read_cvat(stream: IO[bytes], title: str) -> list[ImageLabels]:
    """The tags of images. Raises SettingError for what is no such file."""
    reader = _Reader(title)
    try:
        while chunk := stream.read(_CHUNK):
            reader.parser.Parse(chunk, False)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise SettingError(f"{title} is no XML ({error}); export it again") from error
    return reader.images


def write_cvat(stream: IO[str], samples: Sequence[tuple[str, Sample]]) -> None:
    """Write images by name, with their classes as tags; to upload as annotations of a task.

    Raises SettingError for a name that XML cannot hold.
    """
    labels = sorted({sample.group for _, sample in samples})
    stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
    stream.write("<version>1.1</version>\n<meta><task><labels>\n")
    for label in labels:
        stream.write(f"<label><name>{escape(_writable(label))}</name><type>tag</type></label>\n")
    stream.write("</labels></task></meta>\n")
    for number, (name, sample) in enumerate(samples):
        stream.write(
            f'<image id="{number}" name={quoteattr(_writable(name))} width="{sample.width}" '
            f'height="{sample.height}">'
            f'<tag label={quoteattr(sample.group)} source="manual"/></image>\n'
        )
    stream.write("</annotations>\n")


def _writable(text: str) -> str:
    if _NOT_XML.search(text):
        raise SettingError(
            f"{text!r} has characters that XML cannot hold; rename it, or take another format"
        )
    return text
