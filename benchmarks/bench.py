"""Speed and memory of the engine on one machine: `make bench`.

Rates that are compared are taken in turns within one run, so that a machine that slows
down slows both; each figure is the median of the rounds, with the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import U8, prepare
from pi10_classifier.inference.settings import BATCH, default_jobs
from pi10_classifier.instrument.names import Particle
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find
from pi10_classifier.simulate import simulate_cruise
from pi10_classifier.sources.discovery import discover

SEED = 7
_FIRST = """
import sys, time
from pathlib import Path
from pi10_classifier.model.package import Model, find
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import prepare
model = Model.load(find(sys.argv[2]))
image = decode(Path(sys.argv[1]).read_bytes())
model.scores(prepare(image.rgb, model.package.preprocessing)[None])
print(time.time())
"""


@dataclass(frozen=True)
class Figure:
    """One measured quantity: median, least and most of its rounds."""

    what: str
    unit: str
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, what: str, unit: str, rounds: list[float]) -> Figure:
        return cls(what, unit, statistics.median(rounds), min(rounds), max(rounds))


def make_bin(data: Path, images: int, folder: Path) -> tuple[Path, str]:
    """A bin tar of real crops where they are at hand, else of drawn particles."""
    crops = data / "planktonset1.tar"
    real = crops.is_file()
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / f"{'real' if real else 'drawn'}-{images}"
    if not home.exists():
        simulate_cruise(home, sizes=[images], seed=SEED, crops=crops if real else None)
    return next(home.rglob("*.tar")), "real crops (PlanktonSet 1.0)" if real else "drawn particles"


def particles(tar: Path, count: int) -> list[bytes]:
    """The first particle files of a bin."""
    out: list[bytes] = []
    for unit in discover([str(tar)]):
        for item in unit.items():
            if item.data and Particle.parse(item.member):
                out.append(bytes(item.data))
            if len(out) == count:
                return out
    return out


def bare_session(model: Model, tensors: U8, threads: int, rounds: int) -> float:
    """Images per second of the session alone, ``threads`` callers sharing it."""

    def call() -> None:
        for _ in range(rounds):
            for start in range(0, len(tensors), BATCH):
                model.scores(tensors[start : start + BATCH])

    workers = [threading.Thread(target=call) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * rounds * len(tensors) / (time.perf_counter() - began)


def end_to_end(tar: Path, model: str, jobs: int, *options: str) -> tuple[float, float]:
    """Images per second and peak memory (MB) of ``pi10 classify`` in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        child = (
            "import sys; from pi10_classifier.cli import pi10\n"
            "try: pi10.main(sys.argv[1:], standalone_mode=False)\n"
            "except SystemExit: pass\n"
            "import psutil; info = psutil.Process().memory_info()\n"
            "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]"
            " if sys.platform == 'linux' else getattr(info, 'peak_wset', info.rss) // 1024)"
        )
        command = [sys.executable, "-c", child, "classify", str(tar), "--out", str(out),
                   "--model", model, "--jobs", str(jobs), "--no-report", *options]  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        run = json.loads((out / "run.json").read_text())
    # not ru_maxrss, which begins with what this process had in memory
    peak = int(done.stdout.split()[-1]) / 2**10
    return run["totals"]["results"] / seconds, peak


def source_and_decode(tar: Path) -> float:
    """Members per second through the source and the decoder gate, on one thread."""
    began, count = time.perf_counter(), 0
    for unit in discover([str(tar)]):
        for item in unit.items():
            count += 1
            if item.data and Particle.parse(item.member):
                decode(item.data)
    return count / (time.perf_counter() - began)


def first_prediction(image: Path, model: str) -> float:
    """Seconds from the start of a process to its first scores."""
    began = time.time()
    done = subprocess.run([sys.executable, "-c", _FIRST, str(image), model], check=True,
                          capture_output=True, text=True)  # fmt: skip
    return float(done.stdout) - began


def papers_way(files: list[bytes], threads: int) -> Callable[[], float] | None:
    """PIL, 224 px, ViT-B/16, batch 32, PyTorch: images per second, weights at random."""
    try:
        import torch
        from transformers import ViTConfig, ViTForImageClassification
    except ImportError:
        return None
    import io

    from PIL import Image

    torch.set_num_threads(threads)
    network = ViTForImageClassification(ViTConfig(num_labels=3)).eval()

    def rate() -> float:
        began = time.perf_counter()
        for start in range(0, len(files), 32):
            batch = [
                np.asarray(
                    Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224)), np.float32
                ).transpose(2, 0, 1)
                for data in files[start : start + 32]
            ]
            tensor = torch.from_numpy((np.stack(batch) / 255 - 0.5) / 0.5)
            with torch.no_grad():
                network(tensor).logits.softmax(1)
        return len(files) / (time.perf_counter() - began)

    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=100_000, help="images for the memory figure")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    jobs = default_jobs()
    console = Console()
    tar, what = make_bin(options.data, options.images, options.out)
    model = Model.load(find(options.model))
    files = particles(tar, 2000)
    spec = model.package.preprocessing
    tensors = np.stack([prepare(decode(data).rgb, spec) for data in files])
    bare_session(model, tensors[:256], jobs, 1)  # warm-up

    bare: list[float] = []
    whole: list[float] = []
    unmeasured: list[float] = []
    kept: list[float] = []
    for number in range(options.rounds):
        console.print(f"round {number + 1} of {options.rounds}")
        before = bare_session(model, tensors, jobs, 1)
        rate, _ = end_to_end(tar, options.model, jobs)
        after = bare_session(model, tensors, jobs, 1)
        bare += [before, after]
        whole.append(rate)
        kept.append(100 * rate / statistics.mean((before, after)))
        unmeasured.append(end_to_end(tar, options.model, jobs, "--no-measure")[0])
    one = options.out / "one.tif"
    one.write_bytes(files[0])
    figures = [
        Figure.of(f"end to end from a tar, {jobs} threads, measuring", "images/s", whole),
        Figure.of("the same without measuring", "images/s", unmeasured),
        Figure.of(f"bare session, same tensors, {jobs} threads", "images/s", bare),
        Figure.of("share of the bare session kept", "%", kept),
        Figure.of(
            "source and decode gate, one thread",
            "members/s",
            [source_and_decode(tar) for _ in range(options.rounds)],
        ),
        Figure.of(
            "process start to first prediction",
            "s",
            [first_prediction(one, options.model) for _ in range(options.rounds)],
        ),
    ]
    large, _ = make_bin(options.data, options.large, options.out)
    rate, peak = end_to_end(large, options.model, jobs)
    figures.append(Figure.of(f"end to end, a bin of {options.large:,}", "images/s", [rate]))
    figures.append(Figure.of(f"peak memory, a bin of {options.large:,}", "MB", [peak]))
    paper = papers_way(files[:64], jobs)
    if paper:
        figures.append(Figure.of("the paper's way (ViT-B/16, 224 px, PyTorch)", "images/s",
                                 [paper() for _ in range(3)]))  # fmt: skip
    else:
        console.print("the paper's way is not timed: it needs torch and transformers")
    shutil.rmtree(large.parents[2], ignore_errors=True)

    table = Table(title=f"{what}; model {model.package.name} at {spec.size} px, batch {BATCH}; "
                  f"{jobs} cores, {_processor()}", title_justify="left")  # fmt: skip
    for name in ("what", "median", "least", "most", "unit"):
        table.add_column(name, justify="left" if name in ("what", "unit") else "right")
    for figure in figures:
        values = (f"{v:,.2f}" if v < 10 else f"{v:,.0f}"
                  for v in (figure.median, figure.least, figure.most))  # fmt: skip
        table.add_row(figure.what, *values, figure.unit)
    console.print(table)
    described = {
        "images": options.images,
        "content": what,
        "model": {"name": model.package.name, "sha256": model.package.sha256, "px": spec.size},
        "machine": {"cores": jobs, "processor": _processor(), "system": platform.platform()},
        "figures": [asdict(figure) for figure in figures],
    }
    path = options.out / "bench.json"
    path.write_text(json.dumps(described, indent=2) + "\n")
    console.print(f"written: {path}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or os.name


if __name__ == "__main__":
    main()
