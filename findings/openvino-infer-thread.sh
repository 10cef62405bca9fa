#!/bin/sh
# OpenVINO: with two streams or more, infer() computes on other threads than the one that calls it.
#
# One would guess: infer(), which returns the result and not a promise, computes on the thread that
# calls it, as ONNX Runtime's run() does with one thread; how many streams a model is compiled with
# decides how many calls run at once, and nothing else.
#
# What happens: with NUM_STREAMS=1 the calling thread computes. With 2 (what a server with two
# callers asks for) it only waits: the work is done by OpenVINO's own threads. So what was set for
# the calling thread does not hold for the work: its CPU affinity, its niceness, and its own clock
# (time.thread_time), by which the network seems to cost nothing. NUM_STREAMS=0 brings the work back
# to the callers, but two of them then take turns: they are no faster than one.
#
# It matters where threads are counted by cores: as many callers as cores leave cores idle whenever
# one of them prepares its next input, for a caller that waits is no core at work.
#
# Needs Python 3.10 to 3.13, two cores and a package index. Exits 1 where the behaviour has changed.
set -eu
version=${1:-2026.4.1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "openvino==$version"
cd "$folder"
cat > show.py <<'PY'
import sys
import threading
import time

sys.modules["openvino_telemetry"] = None  # the import shall send nothing
import numpy as np
import openvino as ov
import openvino.opset13 as ops

rng = np.random.default_rng(0)
kernel = rng.normal(0, 0.05, (64, 64, 3, 3)).astype(np.float32)
image = ops.parameter([1, 64, 48, 48], np.float32, name="image")
layer = image
for _ in range(6):
    layer = ops.relu(ops.convolution(layer, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
batch = rng.normal(0, 1, (1, 64, 48, 48)).astype(np.float32)
core = ov.Core()


def measured(streams, callers):
    """Calls a second, and which share of the work the calling threads did."""
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": max(1, streams),
    }
    compiled = core.compile_model(ov.Model([layer], [image]), "CPU", options)
    requests = [compiled.create_infer_request() for _ in range(callers)]
    for request in requests:
        request.infer({0: batch})
    own = [0.0] * callers

    def call(place):
        began = time.thread_time()
        for _ in range(100):
            requests[place].infer({0: batch})
        own[place] = time.thread_time() - began

    threads = [threading.Thread(target=call, args=(place,)) for place in range(callers)]
    clock, processor = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    rate, share = 100 * callers / clock, sum(own) / processor
    print(f"NUM_STREAMS={streams}, callers {callers}: {rate:5.0f} calls/s, {share:4.0%} of the work"
          " on the calling threads")
    return rate, share


print("openvino", ov.__version__)
_, one = measured(1, 1)
_, two = measured(2, 2)
alone, none = measured(0, 1)
both, shared = measured(0, 2)
described = one > 0.8 and two < 0.3 and none > 0.8 and shared > 0.8 and both < 1.4 * alone
print("as described" if described else "the behaviour has changed")
sys.exit(not described)
PY
"$folder/venv/bin/python" show.py
