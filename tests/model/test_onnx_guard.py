"""External data is refused wherever a graph can hide it, before a runtime sees the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, numpy_helper

from pi10_classifier.errors import ModelError
from pi10_classifier.model.onnx_guard import refuse_external_data
from pi10_classifier.model.session import Model


def outside() -> TensorProto:
    """A tensor whose values are to be read from a file of the machine."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[16, 3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def constant(**fields: object) -> onnx.NodeProto:
    """A node with one attribute made of ``fields``."""
    attribute = AttributeProto(name="value", **fields)
    return onnx.NodeProto(op_type="Constant", output=["c"], attribute=[attribute])


def sparse(*, values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[16, 3])


def inside() -> TensorProto:
    return numpy_helper.from_array(support.weights(), "w")


def graph_of(*nodes: onnx.NodeProto, weights: TensorProto | None = None) -> onnx.GraphProto:
    return onnx.GraphProto(node=nodes, initializer=[weights] if weights else [])


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(outside())


def in_attribute_tensor(model: onnx.ModelProto) -> None:
    model.graph.node.append(constant(type=AttributeProto.TENSOR, t=outside()))


def in_attribute_tensors(model: onnx.ModelProto) -> None:
    node = constant(type=AttributeProto.TENSORS, tensors=[inside(), outside()])
    model.graph.node.append(node)


def in_subgraph(model: onnx.ModelProto) -> None:
    graph = graph_of(weights=outside())
    model.graph.node.append(constant(type=AttributeProto.GRAPH, g=graph))


def in_subgraph_of_a_subgraph(model: onnx.ModelProto) -> None:
    inner = graph_of(constant(type=AttributeProto.TENSOR, t=outside()))
    graphs = [graph_of(constant(type=AttributeProto.GRAPH, g=inner))]
    model.graph.node.append(constant(type=AttributeProto.GRAPHS, graphs=graphs))


def in_sparse_values(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(values=outside(), indices=inside()))


def in_sparse_indices(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(values=inside(), indices=outside()))


def in_sparse_attribute(model: onnx.ModelProto) -> None:
    tensor = sparse(values=outside(), indices=inside())
    model.graph.node.append(constant(type=AttributeProto.SPARSE_TENSOR, sparse_tensor=tensor))


def in_sparse_attributes(model: onnx.ModelProto) -> None:
    tensor = sparse(values=outside(), indices=inside())
    node = constant(type=AttributeProto.SPARSE_TENSORS, sparse_tensors=[tensor])
    model.graph.node.append(node)


def in_function(model: onnx.ModelProto) -> None:
    node = constant(type=AttributeProto.TENSOR, t=outside())
    model.functions.append(onnx.FunctionProto(name="f", domain="d", node=[node]))


def in_function_default(model: onnx.ModelProto) -> None:
    default = AttributeProto(name="a", type=AttributeProto.TENSOR, t=outside())
    model.functions.append(onnx.FunctionProto(name="f", domain="d", attribute_proto=[default]))


def in_training_start(model: onnx.ModelProto) -> None:
    graph = graph_of(weights=outside())
    model.training_info.append(onnx.TrainingInfoProto(initialization=graph))


def in_training_step(model: onnx.ModelProto) -> None:
    graph = graph_of(weights=outside())
    model.training_info.append(onnx.TrainingInfoProto(algorithm=graph))


def location_flag_only(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def entries_only(model: onnx.ModelProto) -> None:
    tensor = outside()
    tensor.ClearField("data_location")
    model.graph.initializer[0].CopyFrom(tensor)


HIDING = [
    in_initializer, in_attribute_tensor, in_attribute_tensors, in_subgraph,
    in_subgraph_of_a_subgraph, in_sparse_values, in_sparse_indices, in_sparse_attribute,
    in_sparse_attributes, in_function, in_function_default, in_training_start, in_training_step,
    location_flag_only, entries_only,
]  # fmt: skip


@pytest.mark.parametrize("hide", HIDING)
def test_external_data_is_refused_before_the_runtime(
    hide: Callable[[onnx.ModelProto], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = support.tiny_model()
    hide(model)
    folder = support.write_package(tmp_path, model)

    def opened(*_: object, **__: object) -> None:
        pytest.fail("the runtime was handed a model with external data")

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    with pytest.raises(ModelError, match="external data"):
        Model.load(folder)


def test_sound_models_pass() -> None:
    model = support.tiny_model()
    body = graph_of(constant(type=AttributeProto.TENSOR, t=inside()))
    model.graph.node.append(constant(type=AttributeProto.GRAPH, g=body))
    model.graph.sparse_initializer.append(sparse(values=inside(), indices=inside()))
    refuse_external_data(model.SerializeToString())


# the same fields, spelled as no writer would, yet as parsers read them


def varint(value: int, length: int = 0) -> bytes:
    out = bytearray()
    while value > 0x7F or len(out) + 1 < length:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, body: bytes, key_length: int = 0, high_bits: int = 0) -> bytes:
    """A length-delimited field, its key and length spelled in ``key_length`` bytes."""
    key = (number << 3 | 2) + (high_bits << 32)
    return varint(key, key_length) + varint(len(body), key_length) + body


def model_with(tensor: bytes, key_length: int = 0, high_bits: int = 0) -> bytes:
    graph = field(5, tensor, key_length, high_bits)
    return field(7, graph, key_length, high_bits)


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_overlong_keys_hide_nothing(length: int) -> None:
    crafted = model_with(outside().SerializeToString(), length)
    parsed = onnx.ModelProto.FromString(crafted)
    assert parsed.graph.initializer[0].external_data, "parsers would see it"
    with pytest.raises(ModelError, match="external data"):
        refuse_external_data(crafted)


@pytest.mark.parametrize("high_bits", [1, 2, 4])
def test_bits_beyond_32_of_a_key_hide_nothing(high_bits: int) -> None:
    crafted = model_with(outside().SerializeToString(), 5, high_bits)
    with pytest.raises(ModelError):
        refuse_external_data(crafted)


@pytest.mark.parametrize("value", [varint(1, 5), varint(1, 10), varint(1 | 1 << 40)])
def test_overlong_location_hides_nothing(value: bytes) -> None:
    with pytest.raises(ModelError, match="external data"):
        refuse_external_data(model_with(varint(14 << 3) + value))


def test_graph_given_twice_is_read_twice() -> None:
    sound = support.tiny_model().SerializeToString()
    with pytest.raises(ModelError, match="external data"):
        refuse_external_data(sound + model_with(outside().SerializeToString()))


def test_runtime_format_is_refused() -> None:
    with pytest.raises(ModelError, match="own format"):
        refuse_external_data(b"\x18\0\0\0ORTM" + bytes(100))


def test_endless_nesting_is_refused() -> None:
    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(ModelError, match="deeply"):
        refuse_external_data(field(7, graph))


@pytest.mark.parametrize(
    "damage",
    [
        b"\x3a",  # a key without its value
        b"\x3a\x05ab",  # shorter than it says
        b"\x3a" + b"\xff" * 11,  # a length without end
        b"\x39\0\0",  # 8 bytes announced, 2 there
        b"\x3d\0",  # 4 bytes announced, 1 there
        b"\x3b",  # a group
        b"\x3f",  # no wire type
    ],
)
def test_damaged_files_are_refused(damage: bytes) -> None:
    with pytest.raises(ModelError, match="damaged"):
        refuse_external_data(damage)


@given(st.binary(max_size=400))
def test_any_bytes_are_passed_or_refused(data: bytes) -> None:
    try:
        refuse_external_data(data)
    except ModelError as error:
        assert error.message


SOUND = support.tiny_model().SerializeToString()


@given(st.integers(0, len(SOUND)), st.binary(min_size=1, max_size=8))
def test_mutated_models_are_passed_or_refused(at: int, noise: bytes) -> None:
    try:
        refuse_external_data(SOUND[:at] + noise + SOUND[at + len(noise) :])
    except ModelError as error:
        assert error.message
