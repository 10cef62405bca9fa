"""COCO: an annotation for each image, its box the whole image (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

from pi10_classifier.datasets.formats.image_labels import ImageLabels
from pi10_classifier.datasets.records import Sample
from pi10_classifier.errors import SettingError

_SLACK = 1.0  # px: tools count the last column or not


def is_coco(content: object) -> bool:
    return isinstance(content, dict) and {"images", "annotations"} <= set(content)


def read_coco(content: dict[str, Any], title: str) -> list[ImageLabels]:
    """The labels by annotations without a box, or whose box is the image.

    Raises SettingError for what does not fit together.
    """
    try:
        categories = {row["id"]: str(row["name"]) for row in content.get("categories", [])}
        images = {row["id"]: ImageLabels(str(row["file_name"])) for row in content["images"]}
        sizes = {row["id"]: (row.get("width"), row.get("height")) for row in content["images"]}
        if len(images) != len(content["images"]):
            raise SettingError(f"{title} gives one id to several images; export it again")
        for number, row in enumerate(content["annotations"], 1):
            image, category = row["image_id"], row["category_id"]
            if image not in images or category not in categories:
                what = f"image {image!r}" if image not in images else f"category {category!r}"
                raise SettingError(f"{title}, annotation {number}: there is no {what}")
            if _is_whole(row.get("bbox"), *sizes[image]):
                images[image].add(categories[category])
            else:
                images[image].parts += 1
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise SettingError(
            f"{title} is no COCO file: {error!r} is missing or has another type; export it again"
        ) from error
    return list(images.values())


def _is_whole(box: Any, width: Any, height: Any) -> bool:
    if not box:
        return True
    left, top, wide, high = map(float, box)
    if width is None or height is None:
        return False  # the image may be larger
    return (
        left <= _SLACK
        and top <= _SLACK
        and left + wide >= float(width) - _SLACK
        and top + high >= float(height) - _SLACK
    )


def write_coco(stream: IO[str], samples: Sequence[tuple[str, Sample]], software: str) -> None:
    """Write images by name, with their classes; sizes are those of the manifest."""
    classes = sorted({sample.group for _, sample in samples})
    number_of = {name: number for number, name in enumerate(classes, 1)}
    head = {
        "info": {"description": f"Labels of whole images, by {software}", "version": "1.0"},
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": ""} for name, number in number_of.items()
        ],
    }
    stream.write(json.dumps(head)[:-1])
    stream.write(',\n"images": [\n')
    _write_rows(
        stream,
        (
            {"id": number, "file_name": name, "width": sample.width, "height": sample.height}
            for number, (name, sample) in enumerate(samples, 1)
        ),
    )
    stream.write('],\n"annotations": [\n')
    _write_rows(
        stream,
        (
            {
                "id": number,
                "image_id": number,
                "category_id": number_of[sample.group],
                "bbox": [0, 0, sample.width, sample.height],
                "area": sample.width * sample.height,
                "segmentation": [],
                "iscrowd": 0,
            }
            for number, (_, sample) in enumerate(samples, 1)
        ),
    )
    stream.write("]}\n")


def _write_rows(stream: IO[str], rows: Iterator[dict[str, Any]]) -> None:
    separator = ""
    for row in rows:
        stream.write(separator + json.dumps(row))
        separator = ",\n"
    stream.write("\n")
