"""What is timed of one build, this one or an earlier commit: each run is a process of its own."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import Build, UnavailableError

_CLASSIFY = """
import sys, time
from pi10_classifier.cli import pi10
try: pi10.main(sys.argv[1:], standalone_mode=False)
except SystemExit: pass
peak = None
if sys.platform == "linux":
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
else:
    try:
        import psutil
        info = psutil.Process().memory_info()
        peak = getattr(info, "peak_wset", info.rss) / 2**20
    except ImportError: pass
import json
print("\\n" + json.dumps({"core_seconds": time.process_time(), "peak_mb": peak}))
"""
_FIRST = """
import sys, time
from pathlib import Path
try:
    from pi10_classifier.foundation.blas import keep_blas_single
    keep_blas_single()  # as the command line and the handler of OSCAR do
except ImportError: pass
try:
    from pi10_classifier.model.package import find
    from pi10_classifier.model.session import Model
    from pi10_classifier.imaging.decode import decode
    from pi10_classifier.imaging.preprocess import prepare
except ImportError:
    from pi10_classifier.model import Model, find
    from pi10_classifier.decode import decode
    from pi10_classifier.preprocess import prepare
model = Model.load(find(sys.argv[2]), *filter(None, sys.argv[3:]))
image = decode(Path(sys.argv[1]).read_bytes())
model.scores(prepare(image.rgb, model.package.preprocessing)[None])
print(time.time(), time.process_time())
"""


@dataclass(frozen=True)
class Classified:
    """One run of ``pi10 classify``: images per second, core-ms per image and peak memory, MB."""

    rate: float
    core_ms: float
    peak: float


def classified(build: Build, tar: Path, model: str, jobs: int, *options: str) -> Classified:
    """``pi10 classify`` of a build in its own process. Raises UnavailableError."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        began = time.perf_counter()
        asked = ("--model", model, "--jobs", str(jobs), "--no-report", *options)
        done = build.run("-c", _CLASSIFY, "classify", str(tar.resolve()), "--out", str(out), *asked)
        seconds = time.perf_counter() - began
        images = int(json.loads((out / "run.json").read_text())["totals"]["results"])
    measured = json.loads(done.stdout.splitlines()[-1])
    return Classified(
        images / seconds, 1000 * measured["core_seconds"] / images, measured["peak_mb"] or 0.0
    )


def first_prediction(
    build: Build, image: Path, model: str, device: str = ""
) -> tuple[float, float]:
    """Seconds from the start of a process to its first scores, and core-seconds of it."""
    began = time.time()
    done = build.run("-c", _FIRST, str(image.resolve()), model, device)
    at, processor = map(float, done.stdout.split())
    return at - began, processor


def one_image(build: Build, image: Path, model: str, *options: str) -> float:
    """Seconds of ``pi10 classify`` of one image, with its report, as a shell sees it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        build.run("-m", "pi10_classifier", "classify", str(image.resolve()), "--out",
                  f"{folder}/out", "--model", model, *options)  # fmt: skip
        seconds = time.perf_counter() - began
        if not list(Path(folder, "out").glob("report*.html")):
            raise UnavailableError(f"{build.name} wrote no report")
    return seconds


def stages(build: Build, tar: Path, model: str, rounds: int) -> dict[str, float]:
    """Core-ms per image of each stage of a build, on one thread and without the network."""
    script = Path(__file__).with_name("stages.py")
    asked = ("--model", model, "--rounds", str(rounds), "--json")
    done = build.run(str(script), str(tar.resolve()), *asked)
    medians: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["core_ms_per_image"]
    return medians
