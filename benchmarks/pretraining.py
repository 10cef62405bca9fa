"""What pretraining without labels brings where labels are few: k-NN on what was held out.

``python -m benchmarks.pretraining A.tar B.tar --out DIR --minutes 15``: of A's own labels every
fifth is held out. On the images of the others, without their labels, a network is pretrained by
each method (`pi10 pretrain`, from the ImageNet weights). Then, as in Kareinen et al. 2026, a
gallery of 1, 2, 4, 8 and 16 labelled images a class decides what the other images are, by the 3
nearest neighbours (cosine similarity, weighted by it): five draws, and mean recall over the
classes, so that each counts the same. Judged are A's labels that were held out, and the labels of
B, a camera that no pretraining saw.

Compared with: the ImageNet weights that each pretraining began with, and a package. Intervals are
the 2.5 and 97.5 % quantiles of 1,000 bootstrap resamples of draws and, within classes, of images.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import KNeighborsClassifier

from pi10_classifier.datasets.discovery import entries, find_origins
from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.imaging.preprocess import Preprocessing, prepare
from pi10_classifier.model.package import find, read_package
from pi10_classifier.packaging.adaptation.features import cut
from pi10_classifier.training.loop.loop import predict
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.pretraining.plan import pretraining_recipe

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

LABELS = (1, 2, 4, 8, 16)
NEIGHBOURS, DRAWS, RESAMPLES = 3, 5, 1000
HELD_OUT = 5  # every fifth label
QUERIES = 50  # of each class


def listed(path: Path) -> Scan:
    """The labelled images of a tar, as far as their names tell; none is decoded."""
    samples = [
        Sample(source, entry.member, entry.label, entry.label)
        for source, origin in find_origins([path]).items()
        for entry in entries(source, origin)
        if entry.error is None
    ]
    return Scan(tuple(samples), (), tuple(counted(samples)), find_origins([path]))


def counted(samples: Sequence[Sample]) -> dict[str, int]:
    return dict(sorted(Counter(s.label for s in samples).items()))


def write_unlabelled(path: Path, found: Scan, held_out: frozenset[str]) -> int:
    """A tar of all images but those of the held-out labels, as their bytes came, without labels."""
    kept = [s for s in found.samples if s.label not in held_out]
    wanted = {s.member: s for s in kept}
    origin = next(iter(found.origins.values()))
    with tarfile.open(origin) as labelled, tarfile.open(path, "w") as tar:
        for info in labelled:
            sample = wanted.get(info.name)
            stream = labelled.extractfile(info) if sample else None
            if sample and stream:
                data = stream.read()
                plain = tarfile.TarInfo(Path(info.name).name)
                plain.size = len(data)
                tar.addfile(plain, io.BytesIO(data))
    return len(kept)


def pretrain_all(
    methods: Sequence[str], tar: Path, out: Path, at_once: int, flags: Sequence[str]
) -> None:
    """Run `pi10 pretrain` by each method, or go on with it."""
    done = {name for name in methods if (out / name / "package" / "model.json").is_file()}
    waiting = [name for name in methods if name not in done]
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            name = waiting.pop(0)
            how = ["--profiles", "lines"] if name == "profiles" else []
            folder = out / name
            again = ["--resume"] if (folder / "config.json").is_file() else []
            words = [sys.executable, "-m", "pi10_classifier", "pretrain", str(tar),
                     "--method", name, *how, "--out", str(folder), *flags, *again]  # fmt: skip
            out.mkdir(parents=True, exist_ok=True)
            with (out / f"{name}.log").open("ab") as log:
                running.append(subprocess.Popen(words, stderr=log, stdout=log))
        first = running.pop(0)
        if first.wait():
            raise SystemExit(f"{' '.join(map(str, first.args))} ended with {first.returncode}")


def judged_samples(found: Scan, labels: Sequence[str], most: int, seed: int = 0) -> list[Sample]:
    """``most`` images of each label, of which each draw takes its gallery and its queries."""
    rng = np.random.default_rng(seed)
    chosen: list[Sample] = []
    for label in labels:
        mine = [s for s in found.samples if s.label == label]
        order = rng.permutation(len(mine))[:most]
        chosen += [mine[i] for i in sorted(order.tolist())]
    return chosen


def batches(
    found: Scan,
    samples: Sequence[Sample],
    spec: Preprocessing,
    seen: list[Sample],
    size: int = 64,
) -> Iterator[NDArray[np.uint8]]:
    """Prepared images of the samples; ``seen`` gets these in their order."""
    held: list[NDArray[np.uint8]] = []
    for sample, rgb in read_rgb(found, samples):
        seen.append(sample)
        held.append(prepare(rgb, spec))
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def features(
    what: str, network: str, size: int, found: Scan, samples: Sequence[Sample]
) -> tuple[F32, list[Sample]]:
    """Features (N, D) of a package, or of a network's ImageNet weights, and their samples."""
    seen: list[Sample] = []
    if what == "imagenet":
        recipe = pretraining_recipe(network, size=size)
        net = build(network, 2, size=size, channels=recipe.channels).eval()
        every = batches(found, samples, recipe.spec, seen)
        return np.concatenate([predict(net, b, output="features") for b in every]), seen
    package, graph = read_package(find(what))
    trunk = cut(package, graph)
    return trunk.run(batches(found, samples, package.preprocessing, seen)), seen


def hits(x: F32, y: I64, queries: int, seed: int = 0) -> dict[int, tuple[NDArray[np.float64], I64]]:
    """For each number of labels: hits (draws, Q) of the queries, and the queries' classes."""
    # one label a class is what is asked here
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    told: dict[int, list[NDArray[np.float64]]] = {n: [] for n in LABELS}
    classes = np.repeat(np.arange(y.max() + 1), queries)
    for draw in range(DRAWS):
        rng = np.random.default_rng((seed, draw))
        orders = [rng.permutation(np.flatnonzero(y == k)) for k in range(int(y.max()) + 1)]
        asked = np.concatenate([order[-queries:] for order in orders])
        for n in LABELS:
            gallery = np.concatenate([order[:n] for order in orders])
            knn = KNeighborsClassifier(min(NEIGHBOURS, len(gallery)), weights=similarity,
                                       metric="cosine", algorithm="brute")  # fmt: skip
            guess = knn.fit(unit[gallery], y[gallery]).predict(unit[asked])
            told[n].append((guess == classes).astype(np.float64))
    return {n: (np.stack(rows), classes) for n, rows in told.items()}


def similarity(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the cosine distance; so of three neighbours of three classes the nearest decides."""
    return np.maximum(1 - distance, 1e-6)


def interval(told: NDArray[np.float64], classes: I64, seed: int = 0) -> tuple[float, float, float]:
    """Mean recall over the classes, and its interval over draws and images."""
    rng = np.random.default_rng(seed)
    by_class = told.reshape(len(told), classes.max() + 1, -1)
    means = []
    for _ in range(RESAMPLES):
        drawn = by_class[rng.integers(len(told), size=len(told))]
        # each draw has other images, so each gets resamples of its own
        place = rng.integers(drawn.shape[2], size=drawn.shape)
        means.append(np.take_along_axis(drawn, place, 2).mean())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(told.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretraining", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("source", type=Path, help="the labelled tar to pretrain on, labels hidden")
    parser.add_argument("camera", type=Path, help="the labelled tar of another camera")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default="simclr,simsiam,dino,profiles")
    parser.add_argument("--package", default="starter", help="package to compare with")
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=64, help="input side, px")
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--queries", type=int, default=QUERIES, help="images asked of each class")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1, help="pretrainings side by side")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    home, other = listed(options.source), listed(options.camera)
    least = max(LABELS) + options.queries
    enough = [label for label, n in counted(home.samples).items() if n >= least]
    held_out = frozenset(enough[::HELD_OUT])
    tar = options.out / "unlabelled.tar"  # the same again where a run goes on
    count = write_unlabelled(tar, home, held_out)
    without = ", ".join(sorted(held_out))
    print(f"{count:,} images of {options.source.stem} without the labels {without}", flush=True)
    methods = [name for name in options.methods.split(",") if name]
    flags = ["--network", options.network, "--size", str(options.size), "--images",
             str(options.images), "--minutes", str(options.minutes), "--epochs", "1000",
             "--threads", str(options.threads)]  # fmt: skip
    pretrain_all(methods, tar, options.out, options.at_once, flags)
    judged = {
        "classes held out": (home, sorted(held_out)),
        "camera held out": (other, [k for k, n in counted(other.samples).items() if n >= least]),
    }
    rows = {f"ImageNet weights, {options.size} px": "imagenet", options.package: options.package}
    rows |= {f"pretrained: {name}": str(options.out / name / "package") for name in methods}
    results: list[dict[str, Any]] = []
    for where, (found, labels) in judged.items():
        samples = judged_samples(found, labels, least)
        for name, what in rows.items():
            x, seen = features(what, options.network, options.size, found, samples)
            y = np.array([labels.index(s.label) for s in seen], np.int64)
            for n, (told, classes) in hits(x, y, options.queries).items():
                value, low, high = interval(told, classes)
                row = {"where": where, "classes": len(labels), "features": name, "labels": n}
                results.append({**row, "recall": value, "low": low, "high": high})
            print(json.dumps(results[-1]), flush=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    show(results)


def show(results: Sequence[Mapping[str, Any]]) -> None:
    for where in dict.fromkeys(row["where"] for row in results):
        mine = [row for row in results if row["where"] == where]
        chance = 1 / mine[0]["classes"]
        title = f"{where}: mean recall of {mine[0]['classes']} classes (chance {chance:.2f})"
        table = Table(title=f"{title}, by labels a class; {os.cpu_count()} cores")
        table.add_column("features")
        for n in LABELS:
            table.add_column(str(n))
        for name in dict.fromkeys(row["features"] for row in mine):
            cells = [
                f"{row['recall']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
                for row in mine if row["features"] == name
            ]  # fmt: skip
            table.add_row(name, *cells)
        Console(width=150).print(table)


if __name__ == "__main__":
    main()
