"""Blocks of pixels before the first convolution: the same bits, and other graphs as they were."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pi10_classifier.model.package import installed, read_package
from pi10_classifier.packaging.pixel_blocks import with_pixel_blocks

CHANNELS = 8


def quantised(
    *, side=12, mean=114.495, zero=114, channels=1, stride=2, kernel=3, pads=1, group=1, more=(),
    weight_zero=0, opset=17,
):  # fmt: skip
    """uint8 -> (x - mean) / 57.63 -> 3 x 3 convolution in QDQ form -> uint8, per-channel weights.

    zero: None for none. more: nodes that use other values, each with an output of its own.
    """
    rng = np.random.default_rng(3)
    scale = np.float32(1 / 57.63)
    values = {
        "mean": np.float32(mean),
        "std": np.float32(57.63),
        "scale": scale,
        **({} if zero is None else {"zero": np.uint8(zero)}),
        "w": rng.integers(-127, 128, (CHANNELS, channels // group, kernel, kernel), np.int8),
        "w_scale": rng.uniform(0.001, 0.02, CHANNELS).astype(np.float32),
        "w_zero": np.full(CHANNELS, weight_zero, np.int8),
        "bias": rng.uniform(-1, 1, CHANNELS).astype(np.float32),
        "out_scale": np.float32(0.05),
        "out_zero": np.uint8(100),
    }
    rounding = ["scale"] + ["zero"] * (zero is not None)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("QuantizeLinear", ["scaled", *rounding], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", *rounding], ["given"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["kernel"], axis=0),
        helper.make_node(
            "Conv", ["given", "kernel", "bias"], ["found"], kernel_shape=[kernel] * 2,
            strides=[stride] * 2, pads=[pads] * 4, group=group,
        ),
        helper.make_node("QuantizeLinear", ["found", "out_scale", "out_zero"], ["told"]),
        *more,
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("told", TensorProto.UINT8, None)]
    outputs += [
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None) for node in more
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", channels, side, side])],
        outputs,
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model.SerializeToString()


def answers(graph, images):
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})


def images_of(side, channels=1):
    images = np.random.default_rng(4).integers(0, 256, (3, channels, side, side), np.uint8)
    images[1] = 0  # the padding is another grey than the image
    images[2] = 255
    return images


@pytest.mark.parametrize(
    "given", [{"side": 2}, {}, {"side": 30}, {"mean": 0.0, "zero": None}], ids=str
)
def test_the_answers_have_the_same_bits(given):
    before = quantised(**given)
    after = with_pixel_blocks(before)
    images = images_of(given.get("side", 12))
    assert np.ptp(answers(before, images)[0].astype(int)) > 50  # not all cut off
    for first, second in zip(answers(before, images), answers(after, images), strict=True):
        np.testing.assert_array_equal(first, second)
    kinds = [node.op_type for node in onnx.load_from_string(after).graph.node]
    assert kinds.count("SpaceToDepth") == 1
    assert not {"Cast", "Sub", "Div"} & set(kinds)  # the image is what they gave


OTHERS = [
    helper.make_node("ReduceMean", ["scaled"], ["grey"], axes=[1, 2, 3]),
    helper.make_node("ReduceMean", ["given"], ["grey"], axes=[1, 2, 3]),
    helper.make_node("Conv", ["given", "kernel"], ["shared"], kernel_shape=[3, 3]),
    helper.make_node("ReduceMean", ["kernel"], ["weight"], axes=[1, 2, 3]),
    helper.make_node("Cast", ["w"], ["weights"], to=TensorProto.FLOAT),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda x: f"{x.op_type} of {x.input[0]}")
def test_what_else_uses_the_values_before_it_keeps_them(other):
    before = quantised(more=[other])
    after = with_pixel_blocks(before)
    assert after != before
    for first, second in zip(*(answers(x, images_of(12)) for x in (before, after)), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "other",
    [
        {"side": 13},
        {"channels": 3},
        {"stride": 1},
        {"kernel": 5, "pads": 2},
        {"pads": 0},
        {"weight_zero": 5},  # then a stored zero is none
        {"opset": 10},  # whose Pad is another
        {"zero": 115},  # then each grey becomes the next
        {"zero": 120},  # and here the brightest become one
    ],
    ids=str,
)
def test_another_graph_keeps_its_bytes(other):
    graph = quantised(**other)
    assert with_pixel_blocks(graph) == graph


def test_a_part_of_the_image_is_not_the_image():
    model = onnx.load_from_string(quantised(side=16))
    (image,) = model.graph.input
    image.CopyFrom(helper.make_tensor_value_info("whole", TensorProto.UINT8, ["N", 1, 32, 32]))
    for name, value in (("begin", 0), ("end", 16), ("axis", 2), ("other", 3)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    for place, (given, axis, told) in enumerate(
        [("whole", "axis", "upper"), ("upper", "other", "image")]
    ):
        node = helper.make_node("Slice", [given, "begin", "end", axis], [told])
        model.graph.node.insert(place, node)
    assert answers_of_whole(model)[0].shape == (3, CHANNELS, 8, 8)
    graph = model.SerializeToString()
    assert with_pixel_blocks(graph) == graph


def answers_of_whole(model):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"whole": images_of(32)})


def test_a_graph_without_convolution_keeps_its_bytes():
    node = helper.make_node("Identity", ["image"], ["told"])
    image, told = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", 1, 8, 8])
        for name in ("image", "told")
    )
    graph = helper.make_model(helper.make_graph([node], "none", [image], [told]))
    assert with_pixel_blocks(graph.SerializeToString()) == graph.SerializeToString()


@pytest.mark.parametrize("folder", installed(), ids=lambda x: x.name)
def test_embedded_graphs_have_them(folder):
    _, graph = read_package(folder, "int8")
    nodes = onnx.load_from_string(graph).graph.node
    assert [node.op_type for node in nodes][:2] == ["Pad", "SpaceToDepth"]
