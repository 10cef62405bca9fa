"""Label Studio: tasks with one choice an image, and its exports JSON and JSON-MIN.

Pictures are written into the tasks as data URIs. Label Studio shows those as they are; files beside
the tasks it shows only where its server is set up to hand them out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # nosec B405  only written, nothing is parsed

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import atomic_path
from pi10_classifier.labelling.crops import Located
from pi10_classifier.labelling.formats.given import Reading, plain
from pi10_classifier.labelling.labels import BESIDE
from pi10_classifier.sources.base import LIMITS, Limits

TASKS, CONFIG = "tasks.json", "labelling.xml"
CHOICE, IMAGE = "label", "image"
_EXPORT = "export the project as JSON or JSON-MIN"


NameOf = Callable[[dict[str, Any], str], str]
"""The name of a task's image, from its data and a title for messages."""


def particle_id(data: dict[str, Any], title: str) -> str:
    """As our own tasks have it. Raises SettingError."""
    name = data.get("particle_id")
    if not isinstance(name, str) or not name:
        raise SettingError(
            f"{title} has no particle_id; it has "
            f"{', '.join(name[:60] for name in list(data)[:12]) or 'nothing'}; its tasks must come "
            "from: pi10 validate export RESULTS --format label-studio"
        )
    return name


def read_label_studio(
    path: Path, limits: Limits = LIMITS, *, name_of: NameOf = particle_id, title: str = ""
) -> Reading:
    """Read an export; skipped tasks and those without a choice have no label yet.

    name_of: what the images are named by. title: of the file, for messages. Labellers are named by
    their address, or where the export has only a number by ``label-studio <number>``. Raises
    SettingError for what is no export.
    """
    size = path.stat().st_size
    if size > limits.member_bytes:
        raise SettingError(
            f"{path} has {size:,} bytes; the cap is {limits.member_bytes:,}; export in parts"
        )
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path} is no JSON ({str(error)[:200]}); {_EXPORT}") from error
    records = [content] if isinstance(content, dict) else content
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise SettingError(f"{path} is JSON, but no list of tasks; {_EXPORT}")
    flat = [record for record in records if not isinstance(record.get("data"), dict)]
    if flat and not any(CHOICE in record for record in flat):
        names = sorted({str(name)[:60] for record in flat for name in record})[:20]
        raise SettingError(
            f"{path} has no task with {CHOICE!r}, the name of the choices; it has "
            f"{', '.join(names) or 'nothing'}; {_EXPORT}"
        )
    reading = Reading("label-studio")
    for number, record in enumerate(records):
        task = f"{title or path}, task {number + 1}"
        if isinstance(record.get("data"), dict):
            _read_task(record, name_of(record["data"], task), task, reading)
        else:
            _read_flat(record, name_of(record, task), task, reading)
    return reading


def _read_task(record: dict[str, Any], name: str, title: str, reading: Reading) -> None:
    annotations = record.get("annotations", [])
    if not isinstance(annotations, list):
        raise SettingError(f"{title} has no list of annotations; {_EXPORT}")
    if not annotations:
        reading.given.append(plain(name, ""))
    for annotation in annotations:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            raise SettingError(f"{title} has an annotation without a result; {_EXPORT}")
        labeller = _labeller(annotation.get("completed_by"))
        labels = [] if annotation.get("was_cancelled") else _choices(annotation["result"], title)
        for label in labels or [""]:
            reading.given.append(plain(name, label, labeller))


def _choices(results: Sequence[Any], title: str) -> list[str]:
    """The chosen labels; of several questions that of ours, by its name."""
    by_question: dict[str, list[str]] = {}
    for result in results:
        if not isinstance(result, dict) or result.get("type") != "choices":
            continue  # boxes, comments and other answers to other questions
        value = result.get("value")
        labels = value.get("choices") if isinstance(value, dict) else None
        question = by_question.setdefault(str(result.get("from_name")), [])
        question += _texts(labels, title)
    return _ours(by_question, title)


def _read_flat(record: dict[str, Any], name: str, title: str, reading: Reading) -> None:
    """A record of JSON-MIN: data and answers side by side, one record an annotation."""
    labeller = _labeller(record.get("annotator"))
    value = record.get(CHOICE)
    labels = _texts(value.get("choices") if isinstance(value, dict) else value, title)
    for label in labels or [""]:
        reading.given.append(plain(name, label, labeller))


def _ours(by_question: dict[str, list[str]], title: str) -> list[str]:
    if CHOICE in by_question or not by_question:
        return by_question.get(CHOICE, [])
    if len(by_question) > 1:
        raise SettingError(
            f"{title} answers {', '.join(sorted(by_question))}; none of them is {CHOICE!r}, the "
            "name of the choices"
        )
    return next(iter(by_question.values()))


def _texts(value: object, title: str) -> list[str]:
    if value is None or value == "":
        return []
    labels = [value] if isinstance(value, str) else value
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise SettingError(f"{title} has the label {str(value)[:60]!r}, not a text; {_EXPORT}")
    return [label.strip() for label in labels]


def _labeller(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("email") or value.get("username") or value.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"label-studio {value}"
    return value if isinstance(value, str) else ""


def write_label_studio(
    folder: Path,
    pictures: Iterable[tuple[Located, bytes]],
    labels: Sequence[str],
    *,
    show_predicted: bool,
) -> None:
    """Write ``tasks.json`` and ``labelling.xml``. pictures: particle and its PNG.

    Raises OutputError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / TASKS) as temporary, temporary.open("w", encoding="utf-8") as stream:
        # one task at a time: the pictures of a sample together may be large
        separator = "[\n"
        for task in _tasks(pictures, show_predicted=show_predicted):
            stream.write(separator + json.dumps(task, ensure_ascii=True))
            separator = ",\n"
        stream.write("\n]\n" if separator != "[\n" else "[]\n")
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(config(labels), encoding="utf-8")


def _tasks(
    pictures: Iterable[tuple[Located, bytes]], *, show_predicted: bool
) -> Iterator[dict[str, Any]]:
    for particle, png in pictures:
        uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        task: dict[str, Any] = {
            "data": {
                IMAGE: uri, "particle_id": particle.particle_id, "datetime": particle.datetime,
            }
        }  # fmt: skip
        if show_predicted:
            answer = {
                "from_name": CHOICE, "to_name": IMAGE, "type": "choices",
                "value": {"choices": [particle.predicted]},
            }  # fmt: skip
            task["predictions"] = [{"model_version": "pi10-classifier", "result": [answer]}]
        yield task


def config(labels: Sequence[str]) -> str:
    """The labelling interface: the image, and one choice of the labels with number keys."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}", zoomControl="true")
    choices = ElementTree.SubElement(
        view, "Choices", name=CHOICE, toName=IMAGE, choice="single", required="true",
        showInline="true",
    )  # fmt: skip
    for number, label in enumerate(labels, 1):
        choice = ElementTree.SubElement(choices, "Choice", value=label)
        if number < 10:
            choice.set("hotkey", str(number))
        if label in BESIDE:
            choice.set("hint", BESIDE[label])
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
