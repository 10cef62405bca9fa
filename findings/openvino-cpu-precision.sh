#!/bin/sh
# OpenVINO: a float model computes in bf16 by itself where the CPU can, and nothing says so.
#
# One would guess: a graph in fp32 is computed in fp32 unless a lower precision is asked for, as
# ONNX Runtime and PyTorch do on a CPU; and what a CPU cannot compute in is refused.
#
# What happens: on CPUs with AVX-512 BF16 or AMX the default INFERENCE_PRECISION_HINT is bf16 (on
# Arm, says its documentation, f16), so scores differ in the second or third digit, between two
# machines too, with the same release and the same model. INFERENCE_PRECISION_HINT=f32 gives fp32.
# Asked for bf16, a CPU with AVX2 alone computes with rounded values as well and reports bf16, so
# this does not tell whether the CPU has it. OPTIMIZATION_CAPABILITIES does. OV_CPU_MAX_ISA=AVX2 lets
# a large CPU pass for a small one.
#
# Needs x86-64 with AVX-512 BF16 or AMX, Python 3.10 to 3.13 and a package index. Exits 1 where the
# behaviour has changed, 2 where the CPU cannot show it.
set -eu
version=${1:-2026.4.1}
grep -q -E 'avx512_bf16|amx_bf16' /proc/cpuinfo || { echo "this CPU has no bf16"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "openvino==$version"
cd "$folder"
cat > show.py <<'PY'
import sys

sys.modules["openvino_telemetry"] = None  # the import shall send nothing
import numpy as np
import openvino as ov
import openvino.opset13 as ops

rng = np.random.default_rng(0)
kernel = rng.normal(0, 0.05, (64, 64, 3, 3)).astype(np.float32)
image = ops.parameter([1, 64, 24, 24], np.float32, name="image")
layer = image
for _ in range(3):
    layer = ops.relu(ops.convolution(layer, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
batch = rng.normal(0, 1, (1, 64, 24, 24)).astype(np.float32)
core = ov.Core()
print("capabilities:", *core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
answers, reported = {}, {}
for hint in ("none", "f32", "bf16"):
    options = {} if hint == "none" else {"INFERENCE_PRECISION_HINT": hint}
    compiled = core.compile_model(ov.Model([layer], [image]), "CPU", options)
    answers[hint] = compiled.create_infer_request().infer({0: batch})[0]
    reported[hint] = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
scale = np.abs(answers["f32"]).max()
for hint, answer in answers.items():
    gap = float(np.abs(answer - answers["f32"]).max() / scale)
    print(f"asked for {hint:4}: reports {reported[hint]:4}, differs from f32 by {gap:.1e}")
small = sys.argv[1] == "small"
same = bool((answers["none"] == answers["f32" if small else "bf16"]).all())
bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
described = same and bf16 != small and reported["bf16"] == "bf16"
sys.exit(not (described and (answers["bf16"] != answers["f32"]).any()))
PY
echo "this CPU:"
"$folder/venv/bin/python" show.py whole && whole=0 || whole=1
echo "the same, told to use no more than AVX2:"
OV_CPU_MAX_ISA=AVX2 "$folder/venv/bin/python" show.py small && small=0 || small=1
if [ $whole = 0 ] && [ $small = 0 ]; then
    echo "as described"
else
    echo "the behaviour has changed"
    exit 1
fi
