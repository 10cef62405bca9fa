"""The labels of a data set for other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from pi10_classifier.datasets.formats.biigle import write_biigle
from pi10_classifier.datasets.formats.coco import write_coco
from pi10_classifier.datasets.formats.cvat import write_cvat
from pi10_classifier.datasets.formats.label_studio import write_tasks
from pi10_classifier.datasets.manifest import read_manifest
from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.scan import read_rgb, reopen
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import atomic_path

FORMATS = ("coco", "cvat", "biigle", "label-studio")
MANIFEST, FACTS = "manifest.csv", "dataset.json"


def write_labels(
    dataset: Path, form: str, out: Path, software: str, split: str = "", inputs: Sequence[Path] = ()
) -> int:
    """Write the labels of a folder of ``pi10 dataset`` as one file; returns the images in it.

    split: of one split alone. inputs: where the images lie, for the tool that takes them along;
    those that the folder tells if empty. Raises SettingError and OutputError.
    """
    samples = _samples(dataset, split)
    several = len({sample.source for sample in samples}) > 1
    named = [(f"{s.source}/{s.member}" if several else s.member, s) for s in samples]
    with atomic_path(out) as temporary, temporary.open("wb") as raw:
        stream = TextIOWrapper(raw, "utf-8", errors="backslashreplace", newline="")
        if form == "coco":
            write_coco(stream, named, software)
        elif form == "cvat":
            write_cvat(stream, named)
        elif form == "biigle":
            write_biigle(stream, named)
        else:
            write_tasks(stream, _pictures(dataset, named, inputs))
        stream.flush()
    return len(named)


def _samples(dataset: Path, split: str) -> list[Sample]:
    path = dataset / MANIFEST
    try:
        samples = read_manifest(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); make it: pi10 dataset … --out {dataset}"
        ) from error
    chosen = [sample for sample in samples if split in ("", sample.split)]
    if not chosen:
        raise SettingError(f"{path} has no image of the split {split!r}")
    return chosen


def _pictures(
    dataset: Path, named: Sequence[tuple[str, Sample]], inputs: Sequence[Path]
) -> Iterator[tuple[str, Sample, Any]]:
    name_of = {(sample.source, sample.member): name for name, sample in named}
    samples = [sample for _, sample in named]
    scan = reopen(samples, inputs or _inputs(dataset))
    for sample, rgb in read_rgb(scan, samples):
        yield name_of[sample.source, sample.member], sample, rgb


def _inputs(dataset: Path) -> list[Path]:
    path = dataset / FACTS
    try:
        sources = json.loads(path.read_text("utf-8"))["sources"]
        return list(dict.fromkeys(Path(source["path"]) for source in sources.values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SettingError(
            f"{path} does not tell where the images lie ({error!r}); name their folders or "
            "archives: --images"
        ) from error
