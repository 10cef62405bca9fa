"""Makes a tensor inside an ONNX graph one of its outputs, without the package ``onnx``.

Inference does not depend on it (30 MB, slow import), so the few bytes are written here.
"""

from __future__ import annotations

from pi10_classifier.errors import ModelError
from pi10_classifier.model.onnx_guard import spans

_GRAPH, _OUTPUT = 7, 12  # fields of ModelProto and of GraphProto
_FLOAT_TENSOR = b"\x0a\x02\x08\x01"  # TypeProto: tensor_type {elem_type: FLOAT}


def with_output(model: bytes, tensor: str) -> bytes:
    """The model with ``tensor``, float32, as one more output; unchanged where it is one already.

    Raises ModelError where the bytes are no ONNX model.
    """
    name = tensor.encode()
    value = _field(1, name) + _field(2, _FLOAT_TENSOR)
    view = memoryview(model)
    parts, graphs = [], 0
    try:
        for number, wire, start, begin, end in spans(view):
            if number != _GRAPH or wire != 2:
                parts.append(bytes(view[start:end]))
                continue
            graphs += 1
            graph = view[begin:end]
            if name in _outputs(graph):
                return model
            parts.append(_field(_GRAPH, bytes(graph) + _field(_OUTPUT, value)))
    except (IndexError, ValueError) as error:
        raise ModelError(f"model.onnx is damaged: {error}; reinstall the package") from error
    if graphs != 1:
        raise ModelError(f"model.onnx holds {graphs} graphs, not one; export the model again")
    return b"".join(parts)


def _outputs(graph: memoryview) -> set[bytes]:
    """The names of a graph's outputs."""
    return {
        bytes(graph[begin + first : begin + last])
        for number, wire, _, begin, end in spans(graph) if number == _OUTPUT and wire == 2
        for inner, kind, _, first, last in spans(graph[begin:end]) if inner == 1 and kind == 2
    }  # fmt: skip


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes, as protobuf writes it."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
