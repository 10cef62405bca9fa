"""What does each part of the training bring? The same short training, each time without one part.

``python -m benchmarks.ablation --data TAR... --manifest manifest.csv --init PACKAGE --out DIR``:
every training begins with the same weights and sees the same thinned training images (one in
``--thin`` of each label); a row leaves out one part of the recipe of ``make starter``. macro-F1 on
the validation split as it is and in the two drawn looks of ``benchmarks.look``, means over the
seeds, and the difference to the whole recipe with its paired 95 % interval over images and seeds.
The differences are those of short trainings: they rank the parts, they are not the gain of a full
training. Trainings that are done in --out are kept, so the command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.look import KINDS, drawn_views, guesses, labelled_images
from benchmarks.thin import thinned
from pi10_classifier.evaluation.bootstrap import RunOutcome, resample
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.imaging.preprocess import prepare
from pi10_classifier.model.package import find
from pi10_classifier.model.session import Model

WHOLE = {
    "size": 96, "batch": 128, "warm_size": 0, "groups": 0.5, "look": 0.5, "look_kind": "linescan",
    "drawn_kind": "linescan", "ground_clip": 6,
}  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "whole recipe": {},
    "no groups": {"groups": 0.0},
    "no look": {"look": 0.0},
    "generic look": {"look_kind": "generic"},
    "look without margins": {"look_without": "margins"},
    "look without defocus": {"look_without": "defocus"},
    "look without fringes": {"look_without": "fringes"},
    "look without specks, stripes, noise": {"look_without": "specks,stripes,noise"},
    "no drawn particles": {"drawn": 0},
    "drawn as pi10 simulate does": {"drawn_kind": "generic"},
    "no ground clip": {"ground_clip": 0},
}
_TEST = 20  # one test image in so many: `pi10 train` wants some, and this table uses none
VIEWS = ("as they are", *(f"look: {kind}" for kind in KINDS))


def train(options: argparse.Namespace, name: str, seed: int, console: Console) -> Path:
    """Train one row with one seed, or go on with it -> its package."""
    from pi10_classifier.training import run as runs
    from pi10_classifier.training.data.loading import read_examples
    from pi10_classifier.training.plan import TrainingPlan
    from pi10_classifier.training.recipe import named

    settings = {"drawn": options.drawn, **WHOLE, **VARIANTS[name]}
    network, recipe = named("small", None, epochs=options.epochs, rate=options.rate, **settings)
    out: Path = options.out / name.replace(",", "").replace(" ", "-") / f"{seed}"
    plan = TrainingPlan(
        network=network, recipe=recipe, out=out, seeds=(seed,), init=options.init,
        command=shlex.join(sys.argv),
    )  # fmt: skip
    if not (plan.folder(seed) / "test_predictions.csv").is_file():
        examples = read_examples(options.data, Path("cefas"), options.out / "manifest.csv")
        runs.train_seeds(
            examples, plan, resume=out.is_dir(), emit=lambda line: console.print(line, style="dim")
        )
    return plan.folder(seed) / "package"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True, help="That of --label-map cefas.")
    parser.add_argument("--init", required=True, help="Package whose weights all begin with.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--thin", type=int, default=8, help="One training image in so many.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--drawn", type=int, default=250, help="Drawn particles a class.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    text = thinned(options.manifest.read_text("utf-8"), options.thin, _TEST)
    write_atomically(options.out / "manifest.csv", text.encode())

    samples, images = labelled_images(options.data, options.manifest)
    classes: tuple[str, ...] = ()
    outcomes: dict[str, dict[str, list[RunOutcome]]] = {view: {} for view in VIEWS}
    truth: NDArray[np.int64]
    for name in options.variants:
        for seed in options.seeds:
            console.print(f"{name}, seed {seed}")
            model = Model.load(find(str(train(options, name, seed, console))))
            classes = tuple(model.package.classes)
            truth = np.array([classes.index(sample.group) for sample in samples], np.int64)
            spec = model.package.preprocessing
            seen = {"as they are": [prepare(rgb, spec) for rgb in images]}
            seen |= {f"look: {kind}": drawn_views(images, spec, kind, 0) for kind in KINDS}
            for view in VIEWS:
                found = RunOutcome(truth, guesses(model, seen[view]))
                outcomes[view].setdefault(name, []).append(found)

    whole = "whole recipe"
    table = Table(title=f"macro-F1 on {len(samples):,} validation images")
    for heading in ("training", *VIEWS):
        table.add_column(heading)
    figures: dict[str, dict[str, object]] = {name: {} for name in options.variants}
    for view in VIEWS:
        drawn = resample(outcomes[view], len(classes))
        for name in options.variants:
            figures[name][view] = {"macro_f1": drawn.f1(name).value}
            if name != whole and whole in outcomes[view]:
                gap = drawn.difference(name, whole)
                figures[name][view] = {
                    "macro_f1": drawn.f1(name).value, "minus_whole": gap.value,
                    "low": gap.low, "high": gap.high,
                }  # fmt: skip
    for name in options.variants:
        table.add_row(name, *(_cell(figures[name][view]) for view in VIEWS))
    console.print(table)
    write_atomically(options.out / "ablation.json", (json.dumps(figures, indent=1) + "\n").encode())
    console.print(options.out / "ablation.json")


def _cell(figure: object) -> str:
    assert isinstance(figure, dict)
    text = f"{figure['macro_f1']:.3f}"
    if "low" in figure:
        text += f"  {figure['minus_whole']:+.3f} ({figure['low']:+.3f} to {figure['high']:+.3f})"
    return text


if __name__ == "__main__":
    main()
