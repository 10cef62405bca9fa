#!/bin/sh
# ONNX Runtime: in int8, a convolution of one channel takes longer than in float.
#
# One would guess: on a CPU that multiplies 8-bit numbers in one step, each layer of a graph gains
# from int8, and the first one, on the largest image, gains most of all.
#
# What happens: a 3 x 3 convolution with stride 2 of one grey channel to 32, as the networks of the
# MobileNet family begin, takes half as long again in int8 (QDQ form, static, per channel) as in
# float, and more than twice as long within such a network, where float needs no change of layout
# after it. For each output its kernel gathers nine single bytes; in float a kernel for few channels
# is used. Given blocks of 2 x 2 pixels as four channels (Pad, SpaceToDepth, a convolution of 2 x 2 with
# seven zeros among its sixteen weights), the same layer takes six tenths of that, with the same
# bits as the result, though it multiplies nearly twice as many numbers.
#
# It matters for networks of grey images in int8, where this one layer of fifty took a tenth of the
# network's time. SpaceToDepth of uint8 needs a late ONNX Runtime: 1.27 refuses it.
#
# Needs Python 3.11 or later, a CPU with AVX-512 VNNI or AVX-VNNI, and a package index. Exits 1 where
# the behaviour has changed.
set -eu
version=${1:-1.31.1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "onnxruntime==$version" "onnx==1.23.2"
cd "$folder"
cat > show.py <<'PY'
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, BATCH = 96, 32, 8
rng = np.random.default_rng(0)
weights = rng.integers(-127, 128, (CHANNELS, 1, 3, 3), np.int8)
scales = rng.uniform(0.001, 0.01, CHANNELS).astype(np.float32)
images = rng.integers(0, 256, (BATCH, 1, SIDE, SIDE), np.uint8)
one, zero = np.float32(1 / 64), np.uint8(114)


def session(nodes, values, kind, output):
    graph = helper.make_graph(
        nodes, "first layer",
        [helper.make_tensor_value_info("image", kind, [BATCH, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", output, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def in_float():
    values = {"w": weights * scales[:, None, None, None]}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["out"], strides=[2, 2], pads=[1] * 4),
    ]
    return session(nodes, values, TensorProto.FLOAT, TensorProto.FLOAT)


def in_int8(blocks):
    kernel, first, options = weights, [], {"strides": [2, 2], "pads": [1] * 4}
    values = {"one": one, "zero": zero, "s": scales, "z": np.zeros(CHANNELS, np.int8),
              "os": np.float32(0.5), "oz": np.uint8(128)}
    given = "image"
    if blocks:
        wide = np.zeros((CHANNELS, 4, 4), np.int8)
        wide[:, :3, :3] = weights[:, 0]
        split = wide.reshape(CHANNELS, 2, 2, 2, 2).transpose(0, 2, 4, 1, 3)
        kernel, options = np.ascontiguousarray(split.reshape(CHANNELS, 4, 2, 2)), {}
        values["pads"] = np.array([0, 0, 1, 1] * 2, np.int64)
        first = [
            helper.make_node("Pad", ["image", "pads", "zero"], ["padded"]),
            helper.make_node("SpaceToDepth", ["padded"], ["blocks"], blocksize=2),
        ]
        given = "blocks"
    values["w"] = kernel
    nodes = first + [
        helper.make_node("DequantizeLinear", [given, "one", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["k"], axis=0),
        helper.make_node("Conv", ["x", "k"], ["y"], **options),
        helper.make_node("QuantizeLinear", ["y", "os", "oz"], ["out"]),
    ]
    return session(nodes, values, TensorProto.UINT8, TensorProto.UINT8)


ways = {
    "float": (in_float(), ((images - np.float32(zero)) * one).astype(np.float32)),
    "int8": (in_int8(False), images),
    "int8, blocks of pixels": (in_int8(True), images),
}
taken = {name: [] for name in ways}
for _ in range(15):
    for name, (runner, given) in ways.items():
        began = time.process_time()
        for _ in range(40):
            runner.run(None, {"image": given})
        taken[name].append((time.process_time() - began) / 40 * 1e6)
micro = {name: statistics.median(each) for name, each in taken.items()}
print("onnxruntime", ort.__version__)
for name, value in micro.items():
    print(f"{name:24s} {value:6.0f} microseconds for {BATCH} images")
plain, blocks = (ways[name][0].run(None, {"image": images})[0] for name in list(ways)[1:])
same = np.array_equal(plain, blocks)
print("same bits with blocks of pixels:", same)
int8 = micro["int8"]
described = same and int8 > 1.3 * micro["float"] and micro["int8, blocks of pixels"] < 0.8 * int8
print("as described" if described else "the behaviour has changed")
sys.exit(not described)
PY
"$folder/venv/bin/python" show.py
