"""Reads and verifies a model package.

A package is a folder with ``model.onnx``, ``model.json`` and ``README.md`` (the model card). It may
have other graphs of the same model (``graphs``).
Training writes nothing else for use, and inference reads nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.drift.quantities import FIELD as REFERENCE
from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.imaging.preprocess import U8, Preprocessing, normalise
from pi10_classifier.model.graphs.entries import MAIN, Graph, graphs_of
from pi10_classifier.model.groups import FIELD as GROUPS
from pi10_classifier.model.groups import Groups
from pi10_classifier.model.measured import FIELD as MEASURED
from pi10_classifier.model.measured import Measured
from pi10_classifier.model.novelty import FIELD, Novelty
from pi10_classifier.model.onnx_guard import refuse_external_data
from pi10_classifier.model.runtime import FP32

if TYPE_CHECKING:
    from pi10_classifier.drift.reference import Reference

# format 2 added trim, 3 ground_clip, 4 measured: a program that reads older ones would ignore them
FORMAT = 2
_READ = (1, 2, 3, 4)
STARTER = "starter"
ALIASES = {"accurate": STARTER}  # the other embedded package is "fast"
MADE_OF = "validated"  # the field of model.json with the labelled particles it was made from
MAX_CLASSES = 1000
MAX_MODEL_BYTES = 1_500_000_000

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Package:
    """A verified model package. ``sha256`` is the hash of the graph that it was read with.

    thresholds: for each class, in the order of ``classes``, the lowest score that is not flagged
    (0..1, 0 flags nothing); empty if the package has none. novelty: None if the package does not
    tell what is unlike its training images. groups: None if the package predicts classes alone.
    reference: of a good run with it; None if it has none.
    measured: None if the graph takes the image alone. precision: of the graph that it was read
    with. graphs: those beside ``model.onnx``, by precision.
    """

    folder: Path
    name: str
    version: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    input_name: str
    input_dtype: str
    output_name: str
    activation: str
    temperature: float
    sha256: str
    description: dict[str, Any]
    thresholds: tuple[float, ...] = ()
    novelty: Novelty | None = None
    groups: Groups | None = None
    reference: Reference | None = None
    measured: Measured | None = None
    precision: str = FP32
    graphs: Mapping[str, Graph] = field(default_factory=dict)

    @property
    def graph_file(self) -> str:
        """The name of the file of the graph that it was read with."""
        other = self.graphs.get(self.precision)
        return other.file if other else MAIN

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each graph of the package, by its file."""
        files = (MAIN, *(graph.file for graph in self.graphs.values()))
        return {file: str(self.description["files"][file]["sha256"]) for file in files}

    def has_graph(self, sha256: str) -> bool:
        """Whether a graph of this package has this SHA-256, the one that was read or another."""
        return sha256 in self.hashes.values()

    def feed(self, batch: U8, measured: F32 | None = None) -> dict[str, NDArray[Any]]:
        """What the graph's inputs get for prepared images (N, C, S, S) uint8.

        measured: float32 (N, M), the columns of ``measured.names``; None where nothing was
        measured, which the graph treats as NaN. Ignored by a package that takes the image alone.
        """
        images = batch if self.input_dtype == "uint8" else normalise(batch, self.preprocessing)
        if self.measured is None:
            return {self.input_name: images}
        shape = (len(batch), len(self.measured.names))
        numbers = np.full(shape, np.nan, np.float32) if measured is None else measured
        if numbers.shape != shape:
            raise ModelError(
                f"{self.folder}: the measured numbers are {numbers.shape}, not {shape}"
            )
        return {self.input_name: images, self.measured.input: numbers}


def format_of(preprocessing: Preprocessing, measured: Measured | None = None) -> int:
    """The format of a new package: the lowest that it needs, so that older programs read others."""
    if measured:
        return 4
    return 3 if preprocessing.ground_clip else FORMAT


def embedded(name: str = STARTER) -> Path:
    """The folder of a model package that ships with the program."""
    # not importlib.resources, which the first prediction would wait for; wheels are unpacked
    return Path(__file__).parent / "embedded" / name


def installed() -> list[Path]:
    """The folders of all model packages that ship with the program."""
    return sorted(path.parent for path in embedded("").glob("*/model.json"))


def find(name_or_folder: str) -> Path:
    """A package folder from its path, or from the name of an embedded package."""
    path = Path(name_or_folder)
    if (path / "model.json").is_file():
        return path
    names = [folder.name for folder in installed()]
    name = ALIASES.get(name_or_folder, name_or_folder)
    if name in names:
        return embedded(name)
    raise SettingError(
        f"no model package at {name_or_folder!r}: there is no model.json; "
        f"give a package folder, models:/NAME@ALIAS of a registry, or one of: "
        f"{', '.join([*names, *ALIASES])}"
    )


class InstalledGraph(NamedTuple):
    """A graph of a package that ships with the program."""

    name: str
    version: str
    precision: str


@lru_cache(maxsize=256)  # what ships send has no end
def graph_beginning(digits: str) -> InstalledGraph | None:
    """The graph that ships with the program whose SHA-256 begins so; eight digits at the least."""
    if len(digits) < 8:
        return None
    for folder in installed():
        fields = json.loads((folder / "model.json").read_text("utf-8"))
        precisions = {MAIN: FP32} | {graph.file: name for name, graph in graphs_of(fields).items()}
        for file, precision in precisions.items():
            if str(fields["files"][file]["sha256"]).startswith(digits):
                return InstalledGraph(str(fields["name"]), str(fields["version"]), precision)
    return None


def installed_with(sha256: str) -> Path | None:
    """The package that ships with the program of which a graph has this SHA-256, or None."""
    for folder in installed():
        if sha256 in graph_hashes(folder).values():
            return folder
    return None


def package_digest(folder: Path) -> str:
    """SHA-256 of ``model.onnx`` and ``model.json``, one after the other.

    The hashes of other graphs stand in ``model.json``. Raises ModelError if a file is missing.
    """
    digest = hashlib.sha256()
    for name in ("model.onnx", "model.json"):
        try:
            with (folder / name).open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
        except OSError as error:
            raise ModelError(f"{folder / name} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def graph_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each graph by its file, ``model.onnx`` first, as model.json says.

    Raises ModelError if model.json cannot be read.
    """
    try:
        fields = _fields(folder)
        files = (MAIN, *(graph.file for graph in graphs_of(fields).values()))
        return {file: str(fields["files"][file]["sha256"]) for file in files}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder}: model.json names no graphs: {error}") from error


def verify_package(folder: Path) -> Package:
    """Read a package with each of its graphs; returns it as ``read_package`` does.

    Raises ModelError if a hash, a field or a file is wrong.
    """
    package, _ = read_package(folder)
    for precision in package.graphs:
        read_package(folder, precision)
    return package


def read_package(folder: Path, precision: str = FP32) -> tuple[Package, bytes]:
    """Verify a package and return it with the bytes of its graph, ``model.onnx``.

    precision: of the graph to read instead; where the package has none, ``model.onnx`` is read, and
    ``Package.precision`` says so. Raises ModelError if a hash, a field or a file is wrong.
    """
    fields = _fields(folder)
    graph = _read_graph(folder / MAIN)
    package = _parse(folder, fields, hashlib.sha256(graph).hexdigest())
    if wanted := package.graphs.get(precision):
        graph = _read_graph(folder / wanted.file)
        sha256 = hashlib.sha256(graph).hexdigest()
        _check_hash(folder, wanted.file, sha256, wanted.sha256)
        novelty = package.novelty if wanted.novelty else None
        package = replace(package, sha256=sha256, precision=precision, novelty=novelty)
    refuse_external_data(graph)
    return package, graph


def _fields(folder: Path) -> Any:
    try:
        return json.loads((folder / "model.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder}: model.json cannot be read: {error}") from error


def _read_graph(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelError(f"{path} has {size:,} bytes; at most {MAX_MODEL_BYTES:,} are loaded")
        return path.read_bytes()
    except OSError as error:
        more = "" if path.name == MAIN else "; --device cpu runs the graph in fp32"
        raise ModelError(
            f"{path} cannot be read: {error.strerror}; reinstall the package{more}"
        ) from error


def _check_hash(folder: Path, file: str, sha256: str, expected: object) -> None:
    if expected != sha256:
        raise ModelError(
            f"{folder}: {file} has SHA-256 {sha256[:16]}…, but model.json says "
            f"{str(expected)[:16]}…; the file was changed or damaged, reinstall the package"
        )


def _parse(folder: Path, fields: Any, sha256: str) -> Package:
    try:
        if type(fields["format"]) is not int or fields["format"] not in _READ:
            raise ModelError(
                f"{folder}: model.json has format {fields['format']!r}; this program reads"
                f" {', '.join(map(str, _READ))}"
            )
        _check_hash(folder, MAIN, sha256, fields["files"][MAIN]["sha256"])
        package = Package(
            folder=folder,
            name=str(fields["name"]),
            version=str(fields["version"]),
            classes=_class_names(fields["classes"]),
            preprocessing=Preprocessing.from_dict(fields["preprocessing"]),
            input_name=str(fields["input"]["name"]),
            input_dtype=str(fields["input"]["dtype"]),
            output_name=str(fields["output"]["name"]),
            activation=str(fields["output"]["activation"]),
            temperature=float(fields.get("temperature", 1.0)),
            sha256=sha256,
            description=fields,
            thresholds=_thresholds(fields.get("thresholds", {}), fields["classes"]),
            novelty=Novelty.from_dict(fields.get(FIELD)),
            groups=Groups.from_dict(fields.get(GROUPS), fields["classes"]),
            reference=_reference(fields.get(REFERENCE)),
            measured=Measured.from_dict(fields.get(MEASURED)),
            graphs=graphs_of(fields),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ModelError(
            f"{folder}: in model.json, a field is missing or has a wrong type: {error}; reinstall "
            "the package"
        ) from error
    if fields["format"] == 1 and package.preprocessing.trim:
        raise ModelError(f"{folder}: model.json has trim, which needs format 2; set format to 2")
    if fields["format"] < 3 and package.preprocessing.ground_clip:
        raise ModelError(
            f"{folder}: model.json has ground_clip, which needs format 3; set format to 3"
        )
    if fields["format"] < 4 and package.measured:
        raise ModelError(
            f"{folder}: model.json has measured, which needs format 4; set format to 4"
        )
    if package.measured and package.measured.input == package.input_name:
        raise ModelError(f"{folder}: measured names the input of the image, {package.input_name!r}")
    for text in (package.name, package.version):
        if not text or not text.isprintable():
            raise ModelError(f"{folder}: name and version must be printable, not {text!r}")
    if package.activation not in ("softmax", "none"):
        raise ModelError(
            f"{folder}: activation is {package.activation!r}; it must be softmax or none"
        )
    if package.groups:
        if package.activation != "softmax":
            raise ModelError(
                f"{folder}: model.json has groups, but activation is {package.activation!r}; groups"
                " need class logits, so softmax"
            )
        others = {package.output_name, package.novelty.output if package.novelty else ""}
        if package.groups.output in others:
            raise ModelError(
                f"{folder}: groups and another field name the output {package.groups.output!r};"
                " each needs its own"
            )
    if package.input_dtype not in ("uint8", "float32"):
        raise ModelError(
            f"{folder}: input dtype is {package.input_dtype!r}; it must be uint8 or float32"
        )
    if not 0.01 <= package.temperature <= 100:
        raise ModelError(f"{folder}: temperature is {package.temperature}; it must be 0.01 to 100")
    return package


def _reference(fields: Any) -> Reference | None:
    if fields is None:
        return None
    from pi10_classifier.drift.reference import Reference  # few packages have one

    return Reference.from_dict(fields)


def _class_names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(
        isinstance(label, str) and label and label.isprintable() for label in given
    ):
        raise ValueError(f"classes: {str(given)[:80]!r} is not a list of printable names")
    if not 2 <= len(given) <= MAX_CLASSES or len(set(given)) != len(given):
        raise ValueError(f"classes: there must be 2 to {MAX_CLASSES} different names")
    return tuple(given)


def _thresholds(given: Any, classes: Sequence[str]) -> tuple[float, ...]:
    if not isinstance(given, dict):
        raise ValueError(f"thresholds: {str(given)[:80]!r} is not an object of class and score")
    for label, score in given.items():
        if label not in classes:
            raise ValueError(f"thresholds: {label!r} is not one of the classes")
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ValueError(f"thresholds: {label!r} has {score!r}; a score must be 0 to 1")
    return tuple(float(given.get(label, 0)) for label in classes) if any(given.values()) else ()
