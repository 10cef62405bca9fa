"""Refuses ONNX files that load weights from other files, before a runtime opens them.

A malicious model may name any file of the machine as its weights ("external data"). The ``onnx``
package could check that, but inference does not depend on it (30 MB, slow import). So this
module reads only the protobuf fields that can hold tensors, for ONNX IR up to version 13.
"""

from __future__ import annotations

from collections.abc import Iterator

from pi10_classifier.errors import ModelError

# message -> {field number: message}: all paths in onnx.proto3 that lead to a TensorProto
_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DEEPEST = 64


def refuse_external_data(model: bytes) -> None:
    """Raise ModelError if a tensor of ``model`` refers to another file, or if it is damaged."""
    if model[4:8] == b"ORTM":
        raise ModelError("model.onnx is in ONNX Runtime's own format; save it as ONNX")
    try:
        _walk(memoryview(model), "model", 0)
    except (IndexError, ValueError) as error:
        raise ModelError(f"model.onnx is damaged: {error}; reinstall the package") from error


def _walk(message: memoryview, kind: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ModelError("model.onnx nests graphs too deeply, so it is not opened; export it again")
    paths = _PATHS.get(kind, {})
    for number, value in _fields(message):
        if kind == "tensor" and (
            number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
        ):
            raise ModelError(
                "model.onnx keeps weights in another file (external data), which is refused; "
                "save it with its weights inside"
            )
        if number in paths and isinstance(value, memoryview):
            _walk(value, paths[number], depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    for number, wire, _, at, end in spans(message):
        if wire == 0:
            yield number, _varint(message, at)[0]
        elif wire == 2:
            yield number, message[at:end]


def spans(message: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of a protobuf message: number, wire type, begin, begin of the value, end.

    Raises ValueError or IndexError where the bytes are no message.
    """
    at, size = 0, len(message)
    while at < size:
        start = at
        key, at = _varint(message, at)
        key &= 0xFFFFFFFF  # runtimes keep 32 bits, so a longer number must not hide a field
        wire = key & 7
        if wire == 0:
            end = _varint(message, at)[1]
        elif wire == 2:
            length, at = _varint(message, at)
            end = at + length
        elif wire in (1, 5):
            end = at + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"unknown wire type {wire}")
        if end > size:
            raise ValueError("a field ends beyond the file")
        yield key >> 3, wire, start, at, end
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
