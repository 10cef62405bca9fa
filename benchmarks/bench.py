"""Speed and memory of the engine, beside an earlier build and other programs: `make bench`.

    python -m benchmarks.bench [--against COMMIT] [--model starter] [--images 20000] [--rounds 5]
        [--devices auto cpu] [--large 1000 100000] [--peers paper planktonclass ultralytics]
        [--data FOLDER]

All that is compared is measured in turns within one run, so that a machine that slows down slows
all of it; each figure is the median of the rounds, with the least and the most. On a busy machine
rates tell its load, and core-milliseconds per image change little. The earlier commit and each peer
have an environment of their own under ``--out``; what cannot be installed is left out, and said.
A build takes its own embedded package of the name; a folder is one package for all builds. This
build runs once on each of ``--devices``, each beside the bare session of the same graph and
runtime; an earlier one runs as it did without the option.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import machine
from benchmarks.build_runs import Classified, classified, first_prediction, one_image, stages
from benchmarks.environments import REPOSITORY, Build, UnavailableError, environment, run_python
from benchmarks.figures import Rounds, figure_table, stage_table
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import U8, prepare
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.instrument.names import Particle
from pi10_classifier.model.graphs.choice import chosen_device
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find
from pi10_classifier.simulate import simulate_cruise
from pi10_classifier.sources.discovery import discover

SEED = 7
_HERE = Path(__file__).parent
# peer -> its script, and what pip installs for it
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "paper": ("paper.py", ("torch", "transformers", "pillow")),
    "planktonclass": ("planktonclass_predict.py", ("planktonclass",)),
    # the same code as ultralytics, with an OpenCV that needs no libraries of a desktop
    "ultralytics": ("ultralytics_classify.py", ("ultralytics-opencv-headless",)),
}
# their own pins contradict ours, and torchvision on pip needs the build of torch that is there
_UNCONSTRAINED = {"planktonclass", "ultralytics"}


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


@dataclass(frozen=True)
class Way:
    """How a build is run. name: for the tables. device: of this build; "" for an earlier one."""

    name: str
    build: Build
    device: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        return ("--device", self.device) if self.device else ()


def ways_of(builds: Sequence[Build], devices: Sequence[str], package: Path) -> list[Way]:
    """The first build on each device once, and the others; ``auto`` is what it stands for.

    Raises SettingError for a device that is unknown.
    """
    chosen = dict.fromkeys(chosen_device(device, package) for device in devices)
    this, *others = builds
    return [Way(f"{this.name}, {device}", this, device) for device in chosen] + [
        Way(build.name, build) for build in others
    ]


def bare_session(model: Model, tensors: U8, threads: int, rounds: int) -> tuple[float, float]:
    """The session alone, ``threads`` callers sharing it: images per second, core-ms per image."""
    batch = model.runtime.batch

    def call() -> None:
        for _ in range(rounds):
            for start in range(0, len(tensors), batch):
                model.scores(tensors[start : start + batch])

    workers = [threading.Thread(target=call) for _ in range(threads)]
    processor, began = time.process_time(), time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    images = threads * rounds * len(tensors)
    seconds = time.perf_counter() - began
    return images / seconds, 1000 * (time.process_time() - processor) / images


def end_to_end(tar: Path, model: str, jobs: int, *options: str) -> tuple[float, float]:
    """Images per second and peak memory (MB) of this build's ``pi10 classify``."""
    run = classified(Build.running(), tar, model, jobs, *options)
    return run.rate, run.peak


def source_and_decode(tar: Path) -> float:
    """Members per second through the source and the decoder gate, on one thread."""
    began, count = time.perf_counter(), 0
    for unit in discover([str(tar)]):
        for item in unit.items():
            count += 1
            if item.data and Particle.parse(item.member):
                decode(item.data)
    return count / (time.perf_counter() - began)


@dataclass(frozen=True)
class Peer:
    """A program of others in its own environment."""

    name: str
    python: Path
    script: Path

    @classmethod
    def installed(cls, name: str, folder: Path) -> Peer:
        """Install it where that was not done. Raises UnavailableError."""
        script, packages = PEERS[name]
        limits = None if name in _UNCONSTRAINED else REPOSITORY / "constraints.txt"
        return cls(name, environment(folder / name, packages, limits), _HERE / "peers" / script)

    def classify(self, images: Path, threads: int) -> dict[str, Any]:
        """Classify a folder of image files once. Raises UnavailableError."""
        done = run_python(self.python, str(self.script), str(images.resolve()), str(threads))
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured


def available(names: Sequence[str], folder: Path, console: Console) -> Iterator[Peer]:
    for name in names:
        try:
            console.print(f"environment of {name} …")
            yield Peer.installed(name, folder)
        except UnavailableError as reason:
            console.print(f"left out: {reason}", soft_wrap=True)


def main() -> None:
    options = _options()
    jobs, console, out = default_jobs(), Console(), options.out.resolve()
    try:
        console.print("environments of the builds …")
        more = "openvino" * any(device.startswith("openvino") for device in options.devices)
        builds = [Build.this(out / "builds", more)]
        if options.against:
            builds.append(Build.of_commit(options.against, out / "builds"))
    except UnavailableError as reason:
        raise SystemExit(str(reason)) from reason
    peers = list(available(options.peers, out / "peers", console))
    tar, what = make_bin(options.data, options.images, out)
    ways = ways_of(builds, options.devices, find(options.model))
    bares = {way.name: Model.load(find(options.model), way.device) for way in ways if way.device}
    model = next(iter(bares.values()))
    files = particles(tar, 2000)
    spec = model.package.preprocessing
    tensors = np.stack([prepare(decode(data).rgb, spec) for data in files])
    for bare in bares.values():
        bare_session(bare, tensors[:256], jobs, 1)  # warm-up
    folder = out / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, data in enumerate(files[: options.peer_images]):
        (folder / f"{number:06d}.tif").write_bytes(data)
    one = folder / "000000.tif"

    measured = Rounds()
    abouts: dict[str, str] = {}
    for number in range(options.rounds):
        console.print(f"round {number + 1} of {options.rounds}")
        rates: dict[str, Classified] = {}
        kept: dict[str, list[tuple[float, float]]] = {}
        for way in ways:
            bare = bares.get(way.name)
            if bare:
                kept[way.name] = [bare_session(bare, tensors, jobs, 1)]
            rates[way.name] = classified(way.build, tar, options.model, jobs, *way.options)
            if bare:
                kept[way.name].append(bare_session(bare, tensors, jobs, 1))
        for way in ways:
            name, run = way.name, rates[way.name]
            asked = ("--no-measure", *way.options)
            plain = classified(way.build, tar, options.model, jobs, *asked)
            measured.add("end to end from a tar, measuring", "images/s", run.rate, name)
            measured.add("end to end, without measuring", "images/s", plain.rate, name)
            measured.add("end to end, measuring, per image", "core-ms", run.core_ms, name)
            measured.add("end to end, peak memory", "MB", run.peak, name)
            for rate, cost in kept.get(name, []):
                measured.add("bare session, same tensors", "images/s", rate, name)
                measured.add("bare session, per image", "core-ms", cost, name)
            if name in kept:
                share = run.rate / statistics.mean(rate for rate, _ in kept[name])
                measured.add("share of the bare session kept", "%", 100 * share, name)
                for other in ways[len(bares) :]:
                    ratio = run.rate / rates[other.name].rate
                    measured.add(f"rate by that of {other.name}", "times", ratio, name)
                    ratio = run.core_ms / rates[other.name].core_ms
                    measured.add(f"core-ms by those of {other.name}", "times", ratio, name)
        measured.add("source and decode gate, one thread", "members/s", source_and_decode(tar))
        for way in ways:
            seconds, processor = first_prediction(way.build, one, options.model, way.device)
            measured.add("process start to first prediction", "s", seconds, way.name)
            measured.add("the same, of a core", "core-s", processor, way.name)
            seconds = one_image(way.build, one, options.model, *way.options)
            measured.add("one image from the shell to its report", "s", seconds, way.name)
        for peer in tuple(peers):
            try:
                run_of_peer = peer.classify(folder, jobs)
            except UnavailableError as reason:
                console.print(f"left out: {peer.name}: {reason}", soft_wrap=True)
                peers.remove(peer)
                continue
            images = run_of_peer["images"]
            abouts[peer.name] = run_of_peer["about"]
            rate, cost = images / run_of_peer["seconds"], run_of_peer["core_seconds"] / images
            measured.add("peers, after their start", "images/s", rate, peer.name)
            measured.add("peers, per image", "core-ms", 1000 * cost, peer.name)
            if run_of_peer["peak_mb"]:
                measured.add("peers, peak memory", "MB", run_of_peer["peak_mb"], peer.name)
    for size in options.large:
        large, _ = make_bin(options.data, size, out)
        for way in ways:
            run = classified(way.build, large, options.model, jobs, *way.options)
            measured.add(f"end to end, a bin of {size:,}", "images/s", run.rate, way.name)
            measured.add(f"peak memory, a bin of {size:,}", "MB", run.peak, way.name)
        if size != options.images:
            shutil.rmtree(large.parents[2], ignore_errors=True)
    by_stage = {build.name: stages(build, tar, options.model, options.rounds) for build in builds}

    figures = measured.figures()
    title = f"{what}; model {model.package.name} at {spec.size} px, {jobs} threads"
    console.print(figure_table(title, figures))
    console.print(stage_table(by_stage))
    for name, about in abouts.items():
        console.print(f"{name}: {about}", highlight=False)
    described = {
        "images": options.images,
        "content": what,
        "model": {"name": model.package.name, "sha256": model.package.sha256, "px": spec.size},
        "builds": {build.name: build.version for build in builds},
        "peers": abouts,
        "machine": machine.described(),
        "figures": [asdict(figure) for figure in figures],
        "stages_core_ms": by_stage,
    }
    console.print(f"{machine.processor()}: {', '.join(machine.instruction_sets())}")
    path = out / "bench.json"
    path.write_text(json.dumps(described, indent=2) + "\n")
    console.print(f"written: {path}", soft_wrap=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="real crops")
    parser.add_argument("--out", type=Path, default=Path("bench-out"), help="bins, environments")
    parser.add_argument("--model", default="starter", help="name, or a package's folder")
    parser.add_argument("--against", metavar="COMMIT", help="an earlier build, measured beside it")
    parser.add_argument("--devices", nargs="+", default=["auto", "cpu"], metavar="DEVICE",
                        help="of this build, as for `pi10 classify --device`")  # fmt: skip
    parser.add_argument("--images", type=int, default=20_000, help="of the bin")
    parser.add_argument("--rounds", type=int, default=5, help="of everything but large bins")
    parser.add_argument("--large", type=int, nargs="*", default=[1000, 100_000],
                        help="bins whose peak memory is told, in images")  # fmt: skip
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=sorted(PEERS),
                        help="other programs; none without a name")  # fmt: skip
    parser.add_argument("--peer-images", type=int, default=64, help="images for each peer")
    return parser.parse_args()


if __name__ == "__main__":
    main()
