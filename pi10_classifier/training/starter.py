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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pi10_classifier.errors import ExitCode, Pi10Error, SettingError
from pi10_classifier.preprocess import Preprocessing
from pi10_classifier.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    write_description,
)
from pi10_classifier.training.data import Scan, scan
from pi10_classifier.training.dataset import load, spread
from pi10_classifier.training.drawn import add_drawn
from pi10_classifier.training.export import NEVER_SEEN, PARITY_IMAGES, describe, export_package
from pi10_classifier.training.judge import judge, look_at_examples
from pi10_classifier.training.loop import predict, train
from pi10_classifier.training.manifest import manifest
from pi10_classifier.training.metrics import fit_temperature
from pi10_classifier.training.networks import build, origin
from pi10_classifier.training.recipe import Recipe, recipe_for
from pi10_classifier.training.split import counts, split

ARCHITECTURE = "mobilenet_v2"
VERSION = "2"
PARITY_COUNT = 256
CLASSES = ("copepod", "detritus", "noncopepod")  # any other group is kept, to be judged only


@dataclass(frozen=True, slots=True)
class Source:
    """One labelled tar: its file, title as cited and licence; ``name`` is the file's stem."""

    name: str
    file: str
    title: str
    licence: str


SOURCES = (
    Source(
        "planktonset1",
        "planktonset1.tar",
        "PlanktonSet 1.0 (ISIIS), Cowen et al. 2015, NOAA NCEI accession 0127422",
        "U.S. Government work",
    ),
    Source(
        "pwssc",
        "pwssc.tar",
        "Prince William Sound Science Center plankton camera, Campbell et al. 2020",
        "MIT",
    ),
)


def scan_sources(data: Path, sources: Sequence[Source] = SOURCES) -> Scan:
    """Scan the tars of folder ``data``; SettingError where one is missing or lacks a class."""
    for source in sources:
        if not (data / source.file).is_file():
            raise SettingError(
                f"training data {data / source.file} is missing; point --data at its folder"
            )
    found = scan([data / source.file for source in sources])
    for source in sources:
        groups = {s.group for s in found.samples if s.source == source.name}
        for name in CLASSES:
            if name not in groups:
                raise SettingError(
                    f"{data / source.file} has no image of class {name!r}, only"
                    f" {', '.join(sorted(groups))}; its members must be named"
                    f" group/label/name.ext"
                )
    for left in found.left_out:
        _say(f"left out: {left.source}: {left.member}: {left.message}")
    return found


def train_starter(
    data: Path,
    out: Path,
    recipe: Recipe,
    init: str = "imagenet",
    sources: Sequence[Source] = SOURCES,
    command: str = "",
    drawn: int = 0,
) -> Path:
    """Train from the tars in ``data``; return the checkpoint folder ``out/checkpoint``.

    init: "imagenet", "random", or a checkpoint folder of the same split to go on from.
    drawn: images of `pi10 simulate`'s drawings to add to each class.
    """
    torch.manual_seed(recipe.seed)
    begin = "pretrained" if init == "imagenet" else "random"
    network = build(ARCHITECTURE, len(CLASSES), size=recipe.size, channels=1, init=begin)
    earlier: dict[str, Any] = {}
    if init not in ("imagenet", "random"):
        if not Path(init).is_dir():
            raise SettingError(
                f"init is {init!r}; it must be 'imagenet', 'random' or a checkpoint folder"
            )
        state, earlier = load_checkpoint(Path(init))
        network.load_state_dict(state)
    _say(f"reading {data}")
    loaded = load(scan_sources(data, sources), CLASSES, recipe.size, recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    (out / "split.csv").write_text(loaded.manifest, encoding="utf-8", newline="\n")
    digest = hashlib.sha256(loaded.manifest.encode()).hexdigest()
    _say(f"{len(loaded.training.truth)} training, {len(loaded.validation.truth)} validation images")
    if earlier and earlier["training"]["split_sha256"] != digest:
        raise SettingError(
            f"{init} was trained on another split: its training images may be held out here"
        )
    fit = add_drawn(loaded.training, CLASSES, drawn, recipe.seed)
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
        "classes": list(CLASSES),
        "preprocessing": Preprocessing(size=recipe.size).to_dict(),
        "temperature": 1.0,
        "training": {
            "data": [
                {
                    "name": s.name,
                    "source": s.title,
                    "licence": s.licence,
                    "images": counts((x for x in loaded.samples if x.source == s.name), CLASSES),
                }
                for s in sources
            ],
            "split_sha256": digest,
            "command": command,
            "run_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
            "seed": recipe.seed,
            "initial_weights": _origin(begin, earlier),
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

    history = train(network, fit, loaded.validation, recipe, keep, _say, names=CLASSES)
    # The kept epoch is rarely the last: what came after it belongs to the record too.
    _, kept = load_checkpoint(folder)
    kept["training"] |= spent(history)
    write_description(folder, kept)
    return folder


def _origin(begin: str, earlier: dict[str, Any]) -> dict[str, Any]:
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
    return origin(ARCHITECTURE, begin)


def package_starter(data: Path, out: Path, sources: Sequence[Source] = SOURCES) -> Path:
    """Export ``out/checkpoint``, judge it on the test split, describe it: ``out/package``."""
    folder = out / "checkpoint"
    package = export_package(folder, out / "package")
    _, fields = load_checkpoint(folder)
    found = scan_sources(data, sources)
    samples = split(found.samples, seed=fields["training"]["seed"])
    digest = hashlib.sha256(manifest(samples).encode()).hexdigest()
    if digest != fields["training"]["split_sha256"]:
        raise SettingError(
            f"{data} gives another split than {folder} was trained on;"
            f" its test images may be training images, so it is not judged"
        )
    fields["metrics"] = judge(package, found, samples, CLASSES)
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
    for name, figures in fields["metrics"].items():
        f1 = figures["macro_f1"]
        _say(f"{name}: test macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f})")
    return package


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        if not options.package_only:
            given = {key: getattr(options, key) for key in (*_TUNABLE, "minutes")}
            recipe = recipe_for(ARCHITECTURE, **given)
            command = shlex.join(["python", "-m", "pi10_classifier.training.starter", *words])
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
    defaults = recipe_for(ARCHITECTURE)
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
