"""Label Studio: exports of projects in which each image has one choice, and tasks to import.

The format is that of ``labelling.formats.label_studio``; the tasks' images are named otherwise.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.datasets.formats.image_labels import ImageLabels
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.formats.label_studio import CHOICE, IMAGE, read_label_studio

NAME = "name"
"""The field of a task's data that holds the image's name."""


def read_tasks(path: Path, title: str) -> list[ImageLabels]:
    """The choices of an export, JSON or JSON-MIN. Raises SettingError."""
    images: dict[str, ImageLabels] = {}
    for given in read_label_studio(path, name_of=image_name, title=title).given:
        image = images.setdefault(given.key, ImageLabels(given.key))
        image.add(given.shown)
    return list(images.values())


def image_name(data: dict[str, Any], title: str) -> str:
    """The name of a task's image: as we wrote it, or the path of its address."""
    for key in (NAME, "particle_id"):
        if isinstance(data.get(key), str) and data[key]:
            return str(data[key])
    for value in data.values():
        # an image that was uploaded, synchronised or served: /data/upload/1/…, s3://…, https://…
        if isinstance(value, str) and "/" in value and not value.startswith("data:"):
            address = urlsplit(value)
            local = parse_qs(address.query).get("d")  # /data/local-files/?d=folder/name
            return local[0] if local else unquote(address.path)
    raise SettingError(
        f"{title} has neither {NAME!r} nor the address of an image; it has "
        f"{', '.join(str(key)[:60] for key in list(data)[:12]) or 'nothing'}"
    )


def write_tasks(stream: IO[str], pictures: Iterable[tuple[str, Sample, NDArray[np.uint8]]]) -> None:
    """Write tasks with the pictures in them and the classes as annotations.

    pictures: name, sample, RGB (H, W, 3).
    """
    separator = "[\n"
    for name, sample, rgb in pictures:
        png = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
        answer = {
            "from_name": CHOICE, "to_name": IMAGE, "type": "choices",
            "value": {"choices": [sample.group]},
        }  # fmt: skip
        task = {
            "data": {
                IMAGE: f"data:image/png;base64,{base64.b64encode(png).decode()}", NAME: name,
            },
            "annotations": [{"result": [answer]}],
        }  # fmt: skip
        stream.write(separator + json.dumps(task))
        separator = ",\n"
    stream.write("\n]\n" if separator != "[\n" else "[]\n")
