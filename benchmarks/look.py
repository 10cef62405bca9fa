"""What do the Pi-10's look and a camera's framing cost? No labelled Pi-10 image is at hand.

``python -m benchmarks.look PACKAGE... --data TAR... --manifest manifest.csv``: macro-F1 on
the validation split as it is, and with every image drawn in imitation of the Pi-10 (turned,
framed anew, near-black on an uneven ground with stripes, specks and noise: generic, drawn widely,
and linescan, as measured on genuine images), the same drawings for all packages; and how wide each
source's crops are for their particles. ``--ground-clip 0 8``: each package also with these clips in
place of its own, to see what a clip costs or brings a network that was not trained for it.
``--genuine FOLDER``: also how many genuine TIFFs are called each class.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.scan import read_rgb
from pi10_classifier.datasets.selection import load_labelled, of_split
from pi10_classifier.evaluation.metrics import macro_f1
from pi10_classifier.imaging import preprocess
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import Grey, Preprocessing, particle_box, prepare
from pi10_classifier.model.runtime import BATCH
from pi10_classifier.model.session import Model
from pi10_classifier.registry.resolve import find
from pi10_classifier.training.data.augment_pi10 import augment
from pi10_classifier.training.data.in_memory import level

KINDS = ("generic", "linescan")


def frame(rgb: preprocess.U8) -> float:
    """The crop's longest side, in those of its particle's box; nan where there is none."""
    grey = Grey.of(rgb)
    box = particle_box(preprocess.level(grey.pixels, grey.background))
    if box is None:
        return float("nan")
    top, left, bottom, right = box
    return max(rgb.shape[:2]) / max(bottom - top, right - left)


def guesses(model: Model, images: list[preprocess.U8]) -> NDArray[np.int64]:
    """Class indices (N,) for prepared images, asked in batches."""
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([model.scores(np.stack(part)).argmax(axis=1) for part in parts])


def labelled_images(
    inputs: Sequence[Path], manifest: Path
) -> tuple[list[Sample], list[preprocess.U8]]:
    """The images of the manifest's validation split, as samples and RGB pixels."""
    labelled = load_labelled(inputs, None, manifest)
    pairs = list(read_rgb(labelled, of_split(labelled, "validation")))
    return [sample for sample, _ in pairs], [rgb for _, rgb in pairs]


def drawn_views(
    images: Sequence[preprocess.U8], spec: Preprocessing, kind: str, draw: int
) -> list[preprocess.U8]:
    """Each image drawn in a look, as model input; the same drawing for every package."""
    return [
        augment(level(rgb), np.random.default_rng((draw, place)), spec, look=1.0, kind=kind)
        for place, rgb in enumerate(images)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.look", description=__doc__)
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2, help="Drawings of each image.")
    parser.add_argument(
        "--genuine",
        type=Path,
        metavar="FOLDER",
        help="Also genuine TIFFs, without labels.",
    )
    parser.add_argument(
        "--ground-clip", nargs="+", type=int, default=[], metavar="LEVELS",
        help="Clips to try in place of each package's own.",
    )  # fmt: skip
    options = parser.parse_args()
    models = [Model.load(find(name)) for name in options.packages]
    classes = models[0].package.classes
    samples, images = labelled_images(options.data, options.manifest)
    truth = np.array([classes.index(sample.group) for sample in samples], np.int64)
    table = Table(title=f"macro-F1 on {len(samples):,} validation images")
    for name in ("package", "ground clip", "as they are", *(f"look: {kind}" for kind in KINDS)):
        table.add_column(name)
    genuine = sorted(options.genuine.glob("*.tif")) if options.genuine else []
    crops = [decode(path.read_bytes()).rgb for path in genuine]
    if crops:
        table.add_column(f"{len(crops)} genuine: {', '.join(classes)}")
    tried = [
        (name, model, replace(model.package.preprocessing, ground_clip=clip))
        for name, model in zip(options.packages, models, strict=True)
        for clip in options.ground_clip or [model.package.preprocessing.ground_clip]
    ]
    for name, model, spec in tried:
        plain = guesses(model, [prepare(rgb, spec) for rgb in images])
        cells = [f"{macro_f1(truth, plain, len(classes)):.4f}"]
        for kind in KINDS:
            drawn = []
            for draw in range(options.draws):
                seen = drawn_views(images, spec, kind, draw)
                drawn.append(macro_f1(truth, guesses(model, seen), len(classes)))
            cells.append(", ".join(f"{value:.4f}" for value in drawn))
        if crops:
            called = guesses(model, [prepare(rgb, spec) for rgb in crops])
            counts = np.bincount(called, minlength=len(classes))
            cells.append(", ".join(str(count) for count in counts))
        table.add_row(name, str(spec.ground_clip), *cells)
    console = Console()
    console.print(table)
    for source in sorted({sample.source for sample in samples}):
        sides = [frame(rgb) for s, rgb in zip(samples, images, strict=True) if s.source == source]
        low, middle, high = np.nanquantile(sides, (0.25, 0.5, 0.75))
        console.print(
            f"{source}: crops are {middle:.2f} ({low:.2f}-{high:.2f}) times as wide as particles"
        )


if __name__ == "__main__":
    main()
