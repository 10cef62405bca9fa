"""Train, judge and package the starter model: ``python -m pi10_classifier.training.starter``.

One command from the labelled tars to a model package. The test split is read once,
after the last weight is set, through the exported ONNX file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pi10_classifier.errors import ExitCode, Pi10Error, SettingError
from pi10_classifier.preprocess import Preprocessing
from pi10_classifier.training import data as labelled
from pi10_classifier.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    write_description,
)
from pi10_classifier.training.dataset import load, spread
from pi10_classifier.training.drawn import add_drawn
from pi10_classifier.training.export import NEVER_SEEN, PARITY_IMAGES, describe, export_package
from pi10_classifier.training.judge import judge, look_at_examples
from pi10_classifier.training.loop import Recipe, predict, train
from pi10_classifier.training.metrics import fit_temperature
from pi10_classifier.training.networks import IMAGENET_WEIGHTS, build, load_imagenet

ARCHITECTURE = "mobilenet_v2"
VERSION = "2"
PARITY_COUNT = 256


def train_starter(
    data: Path,
    out: Path,
    recipe: Recipe,
    init: str = "imagenet",
    sources: Sequence[labelled.Source] = labelled.SOURCES,
    command: str = "",
    drawn: int = 0,
) -> Path:
    """Train from the tars in ``data``; return the checkpoint folder ``out/checkpoint``.

    init: "imagenet", "random", or a checkpoint folder of the same split to go on from.
    drawn: images of `pi10 simulate`'s drawings to add to each class.
    """
    torch.manual_seed(recipe.seed)
    network = build(ARCHITECTURE, len(labelled.CLASSES), channels=1)
    earlier: dict[str, Any] = {}
    if init == "imagenet":
        load_imagenet(network)
    elif init != "random":
        if not Path(init).is_dir():
            raise SettingError(
                f"init is {init!r}; it must be 'imagenet', 'random' or a checkpoint folder"
            )
        state, earlier = load_checkpoint(Path(init))
        network.load_state_dict(state)
    _say(f"reading {data}")
    loaded = load(data, recipe.size, recipe.seed, sources)
    out.mkdir(parents=True, exist_ok=True)
    (out / "split.csv").write_text(loaded.manifest, encoding="utf-8", newline="\n")
    digest = hashlib.sha256(loaded.manifest.encode()).hexdigest()
    _say(f"{len(loaded.training.truth)} training, {len(loaded.validation.truth)} validation images")
    if earlier and earlier["training"]["split_sha256"] != digest:
        raise SettingError(
            f"{init} was trained on another split: its training images may be held out here"
        )
    fit = add_drawn(loaded.training, drawn, recipe.seed)
    _say(f"{len(fit.truth) - len(loaded.training.truth)} drawn images added")
    folder = out / "checkpoint"
    folder.mkdir(exist_ok=True)
    np.save(folder / PARITY_IMAGES, spread(loaded.validation.images, PARITY_COUNT))
    identity = json.dumps(
        [asdict(recipe), earlier.get("weights_sha256", init), ARCHITECTURE, digest, drawn],
        sort_keys=True,
    )
    description: dict[str, Any] = {
        "format": 1,
        "name": "starter",
        "version": VERSION,
        "architecture": ARCHITECTURE,
        "classes": list(labelled.CLASSES),
        "preprocessing": Preprocessing(size=recipe.size).to_dict(),
        "temperature": 1.0,
        "training": {
            "data": [
                {
                    "name": s.name,
                    "source": s.title,
                    "licence": s.licence,
                    "images": labelled.counts(loaded.samples, s.name),
                }
                for s in sources
            ],
            "split_sha256": digest,
            "command": command,
            "run_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
            "seed": recipe.seed,
            "initial_weights": _origin(init, earlier),
            "drawn_images_per_class": drawn,
            "recipe": asdict(recipe),
            "software": {"torch": torch.__version__.split("+")[0]},
        },
        "metrics": {},
    }
    began = time.monotonic()

    def spent(history: list[dict[str, Any]]) -> dict[str, Any]:
        best = max(history, key=lambda record: record["validation_macro_f1"])
        return {
            "epochs": len(history),
            "best_epoch": best["epoch"],
            "minutes": round((time.monotonic() - began) / 60, 1),
            "threads": torch.get_num_threads(),
            "history": history,
        }

    def keep(average: nn.Module, reached: dict[str, Any]) -> None:
        logits = predict(average, loaded.validation.images)
        description["temperature"] = fit_temperature(logits, loaded.validation.truth)
        description["training"] |= spent(reached["history"])
        save_checkpoint(folder, average, description)

    history = train(network, fit, loaded.validation, recipe, keep, _say)
    # The kept epoch is rarely the last: what came after it belongs to the record too.
    _, kept = load_checkpoint(folder)
    kept["training"] |= spent(history)
    write_description(folder, kept)
    return folder


def _origin(init: str, earlier: dict[str, Any]) -> dict[str, Any]:
    """Where the first weights came from; of an earlier training, its whole record."""
    if earlier:
        past = earlier["training"]
        kept = ("command", "run_id", "recipe", "epochs", "best_epoch", "minutes", "history")
        return {
            **past["initial_weights"],
            "first_stage": {
                "weights_sha256": earlier["weights_sha256"],
                **{key: past[key] for key in kept if key in past},
            },
        }
    return dict(IMAGENET_WEIGHTS) if init == "imagenet" else {"origin": "random"}


def package_starter(
    data: Path, out: Path, sources: Sequence[labelled.Source] = labelled.SOURCES
) -> Path:
    """Export ``out/checkpoint``, judge it on the test split, describe it: ``out/package``."""
    folder = out / "checkpoint"
    package = export_package(folder, out / "package")
    _, fields = load_checkpoint(folder)
    samples = labelled.split(labelled.scan(data, sources), fields["training"]["seed"])
    digest = hashlib.sha256(labelled.manifest(samples).encode()).hexdigest()
    if digest != fields["training"]["split_sha256"]:
        raise SettingError(
            f"{data} gives another split than {folder} was trained on;"
            f" its test images may be training images, so it is not judged"
        )
    fields["metrics"] = judge(package, data, samples, sources)
    fields["never_seen"] = NEVER_SEEN
    called = look_at_examples(package, data / "pi10-examples")
    if called:
        fields["never_seen"] += (
            f" Shown {sum(called.values())} unlabelled Pi-10 images after training, it called "
            + ", ".join(f"{n} {name}" for name, n in called.items())
            + ". No label says what they are; by eye nearly all are copepods."
        )
        if "first_stage" in fields["training"]["initial_weights"]:
            fields["never_seen"] += (
                " They were looked at between the stages: the drawn images were added because the"
                " first stage mistook them, so this count is no independent test."
            )
    write_description(folder, fields)
    describe(package, fields)
    for name, found in fields["metrics"].items():
        f1 = found["macro_f1"]
        _say(f"{name}: test macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})")
    return package


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if not options.package_only:
            recipe = Recipe(
                **{key: getattr(options, key) for key in _TUNABLE}, minutes=options.minutes
            )
            command = shlex.join(["python", "-m", "pi10_classifier.training.starter", *given])
            train_starter(
                options.data, options.out, recipe, options.init,
                command=command, drawn=options.drawn,
            )  # fmt: skip
        package = package_starter(options.data, options.out)
    except Pi10Error as error:
        _say(f"error: {error.message}")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        _say("interrupted; the best epoch so far is kept: --package-only makes a package of it")
        return ExitCode.INTERRUPTED
    print(package)
    return ExitCode.OK


_TUNABLE = ("epochs", "size", "warm_size", "warm_share", "batch", "rate", "seed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pi10_classifier.training.starter",
        description="Train the starter model and write its package to OUT/package.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled tars")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")
    defaults = Recipe()
    for name in _TUNABLE:
        value = getattr(defaults, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"default {value}")
    parser.add_argument("--minutes", type=float, help="end the schedule after this long")
    parser.add_argument(
        "--init", default="imagenet", help="imagenet, random, or a checkpoint folder to go on from"
    )
    parser.add_argument(
        "--drawn", type=int, default=0, help="drawn images to add to each class; default 0"
    )
    parser.add_argument("--threads", type=int, default=0, help="torch threads; default: all cores")
    parser.add_argument(
        "--package-only",
        action="store_true",
        help="train nothing: export and judge the checkpoint in OUT",
    )
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
