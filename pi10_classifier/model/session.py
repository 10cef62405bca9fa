"""Loads a model package, and computes the scores of batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pi10_classifier.errors import ModelError
from pi10_classifier.imaging.preprocess import U8
from pi10_classifier.model.graphs.choice import check_graph, chosen_device
from pi10_classifier.model.graphs.output import with_output
from pi10_classifier.model.package import F32, Package, read_package
from pi10_classifier.model.runtime import OPENVINO, TF32, Runtime, Session, has_int8, runtime_of

# of a class logit, between the graph's and the log-sum-exp of its groups
_ROLL_UP_ALLOWED = 1e-3


class Answer(NamedTuple):
    """What a model says of images.

    scores: class probabilities float32 (N, classes). novelty: how unlike the training images each
    is, float32 (N,); None where the package cannot tell. groups: logits of the finer groups,
    float32 (N, groups); None where the package predicts classes alone. features: what the last
    layer takes, float32 (N, D); None where they were not asked for.
    """

    scores: F32
    novelty: F32 | None
    groups: F32 | None = None
    features: F32 | None = None

    @classmethod
    def joined(cls, parts: Sequence[Answer]) -> Answer:
        """Answers of one model, one or more, as one."""

        def column(values: Sequence[F32 | None]) -> F32 | None:
            known = [value for value in values if value is not None]
            return np.concatenate(known) if known else None

        scores, novelty, groups, features = zip(*parts, strict=True)
        return cls(np.concatenate(scores), column(novelty), column(groups), column(features))


class Model:
    """A loaded package. Several threads may call ``answer`` at once; they share one session.

    Each call runs on one thread, so scores do not depend on the number of callers.
    """

    def __init__(
        self, package: Package, graph: bytes, device: str = "cpu", features: str = ""
    ) -> None:
        """features: the tensor of the graph that ``answer`` gives beside; "" for none."""
        self.package = package
        self.runtime = runtime_of(device)
        check_graph(package, self.runtime, has_int8(graph))
        more = [told.output for told in (package.novelty, package.groups) if told]
        self._outputs = [package.output_name, *more, *([features] if features else [])]
        self._features = features
        self.feature_size = 0
        graph = with_output(graph, features) if features else graph
        self._session = open_session(graph, self.runtime, str(package.folder))
        self._version, self._int8 = self._session.version, has_int8(graph)
        self._check_shapes()
        # a GPU is used by one caller at a time
        self._lock = threading.Lock() if self.runtime.precision == TF32 else None

    @property
    def runs_on(self) -> dict[str, Any]:
        """What runs the graph, for run.json: library, version, device and precision.

        precision: as "int8 and fp32" where some layers are in int8 (int8 is True), the others in
        fp32. graph: its file in the package.
        """
        return {
            "library": self.runtime.library,
            "version": self._version,
            "device": self.runtime.device,
            "precision": "int8 and " * self._int8 + self.runtime.precision,
            "int8": self._int8,
            "graph": self.package.graph_file,
        }

    @property
    def words(self) -> str:
        """What runs, for people: ``model starter 6 on ONNX Runtime, int8 and fp32``."""
        package, ran = self.package, self.runs_on
        return f"model {package.name} {package.version} on {ran['library']}, {ran['precision']}"

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", features: str = "") -> Model:
        """Verify and load a package, with the graph that ``device`` runs.

        Raises ModelError or SettingError.
        """
        device = chosen_device(device, folder)
        package, graph = read_package(folder, runtime_of(device).graph)
        return cls(package, graph, device, features)

    def _check_shapes(self) -> None:
        package = self.package
        spec = package.preprocessing
        inputs = {port.name: port for port in self._session.inputs}
        outputs = {port.name: port for port in self._session.outputs}
        named = [package.input_name, *([package.measured.input] if package.measured else [])]
        if {*inputs} != {*named} or not outputs.keys() >= {*self._outputs}:
            raise ModelError(
                f"{package.folder}: the graph has the inputs {list(inputs)} and the outputs "
                f"{list(outputs)}, but model.json names {' and '.join(map(repr, named))} and "
                f"{', '.join(map(repr, self._outputs))}; correct model.json"
            )
        want = [spec.channels, spec.size, spec.size]
        taken = inputs[package.input_name]
        kind = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}[package.input_dtype]
        if list(taken.shape[1:]) != want or taken.kind != kind:
            raise ModelError(
                f"{package.folder}: the graph's input is {taken.kind} {list(taken.shape)}, but "
                f"model.json describes {kind} [N, {', '.join(map(str, want))}]; correct model.json"
            )
        if package.measured:
            numbers, columns = inputs[package.measured.input], len(package.measured.names)
            if list(numbers.shape[1:]) != [columns] or numbers.kind != "tensor(float)":
                raise ModelError(
                    f"{package.folder}: the graph's input {package.measured.input!r} is"
                    f" {numbers.kind} {list(numbers.shape)}, but model.json describes tensor(float)"
                    f" [N, {columns}]; correct model.json"
                )
        # two images: a graph made for single images would fail at the first batch; of measured
        # numbers all are missing here, which must not make the scores NaN
        raw, novelty, groups, features = self._run(np.zeros((2, *want), np.uint8))
        self.feature_size = 0 if features is None else features.shape[1]
        if not np.isfinite(raw).all():
            raise ModelError(f"{package.folder}: the graph gives scores that are not finite")
        if novelty is not None and not np.isfinite(novelty).all():
            raise ModelError(f"{package.folder}: the graph gives novelty that is not finite")
        if groups is not None and package.groups is not None:
            gap = float(np.abs(package.groups.rolled_up(groups) - raw).max())
            if not gap <= _ROLL_UP_ALLOWED * max(1.0, float(np.abs(raw).max())):
                raise ModelError(
                    f"{package.folder}: the groups of model.json do not sum to the classes that the"
                    f" graph gives (a logit differs by {gap:.2g}); correct the table 'of', or"
                    " export the package again"
                )

    def _run(self, batch: U8, measured: F32 | None = None) -> Answer:
        """What the graph gives, before the activation."""
        package = self.package
        try:
            values = self._session.run(self._outputs, package.feed(batch, measured))
        except Exception as error:  # each runtime raises its own types
            raise ModelError(f"{package.folder}: the graph fails: {str(error)[:300]}") from error
        told = dict(zip(self._outputs, values, strict=True))
        scores = np.asarray(told[package.output_name], np.float32)
        if scores.shape != (len(batch), len(package.classes)):
            raise ModelError(
                f"{package.folder}: the graph gives scores of shape {scores.shape} for "
                f"{len(batch)} images and {len(package.classes)} classes"
            )
        novelty = groups = None
        if package.novelty:
            novelty = np.asarray(told[package.novelty.output], np.float32)
        if novelty is not None and novelty.shape != (len(batch),):
            raise ModelError(
                f"{package.folder}: the graph gives novelty of shape {novelty.shape} for "
                f"{len(batch)} images; it must be one number for each"
            )
        if package.groups:
            groups = np.asarray(told[package.groups.output], np.float32)
            if groups.shape != (len(batch), len(package.groups.names)):
                raise ModelError(
                    f"{package.folder}: the graph gives groups of shape {groups.shape} for"
                    f" {len(batch)} images, but model.json names {len(package.groups.names)}"
                    " groups; correct model.json"
                )
        features = self._checked(told[self._features], batch) if self._features else None
        return Answer(scores, novelty, groups, features)

    def _checked(self, features: Any, batch: U8) -> F32:
        if features.ndim != 2 or features.dtype != np.float32 or len(features) != len(batch):
            raise ModelError(
                f"{self.package.folder}: the tensor {self._features!r} is {features.dtype}"
                f" {features.shape} for {len(batch)} images, so it holds no features; it must be"
                " float32 (N, D): name another in model.json: features"
            )
        return np.asarray(features, np.float32)

    def scores(self, batch: U8, measured: F32 | None = None) -> F32:
        """Class probabilities (N, classes) of prepared images (N, channels, size, size).

        Rows may hold NaN if the graph overflows; the caller must refuse them.
        """
        return self.answer(batch, measured).scores

    def answer(self, batch: U8, measured: F32 | None = None) -> Answer:
        """Scores, novelty and groups of prepared images (N, channels, size, size).

        measured: what was measured of each, float32 (N, M), for a package that takes it; None
        where nothing was. All may hold NaN where the graph overflows: the caller must refuse them.
        """
        return self.activated(self.raw_answer(batch, measured))

    def raw_answer(self, batch: U8, measured: F32 | None = None) -> Answer:
        """``answer`` before the activation: class logits where the graph gives them."""
        if self._lock:
            with self._lock:
                return self._run(batch, measured)
        return self._run(batch, measured)

    def activated(self, raw: Answer) -> Answer:
        """The answer with probabilities, from one or more raw ones in one."""
        if self.package.activation == "none":
            return raw
        logits = raw.scores / np.float32(self.package.temperature)
        with np.errstate(all="ignore"):
            exp = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores = np.asarray(exp / exp.sum(axis=1, keepdims=True), np.float32)
        return raw._replace(scores=scores)

    def labels(self, scores: F32) -> Sequence[str]:
        """The class of the highest score of each row."""
        return [self.package.classes[i] for i in scores.argmax(axis=1)]

    def finer_labels(self, answer: Answer) -> Sequence[str]:
        """The most probable group of each image within its class; the class without groups."""
        if self.package.groups is None or answer.groups is None:
            return self.labels(answer.scores)
        return self.package.groups.most_probable(answer.groups, answer.scores)


def open_session(graph: bytes, runtime: Runtime, where: str) -> Session:
    """Load a graph. ``where``: the package's folder, for messages.

    Raises SettingError where the machine lacks the runtime or its precision, ModelError where the
    runtime refuses the graph.
    """
    runtime.check_installed()
    if runtime.library == OPENVINO:
        from pi10_classifier.model.openvino_session import OpenVinoSession

        return OpenVinoSession(graph, runtime, where)
    from pi10_classifier.model.onnxruntime_session import OnnxRuntimeSession

    return OnnxRuntimeSession(graph, runtime, where)
