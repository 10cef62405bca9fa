"""What ``pi10 train`` does: from examples and a plan to a folder a seed, tested and packaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pi10_classifier.errors import ModelError, SettingError, output_error
from pi10_classifier.model import Model
from pi10_classifier.results import write_atomically
from pi10_classifier.training import outfolder as out
from pi10_classifier.training.checkpoint import load_checkpoint, save_checkpoint, write_description
from pi10_classifier.training.dataset import HeldOut, TrainingSet, spread
from pi10_classifier.training.distil import PackageTeacher
from pi10_classifier.training.drawn import add_drawn
from pi10_classifier.training.examples import Examples, batches, load
from pi10_classifier.training.export import PARITY_IMAGES, describe, export_package
from pi10_classifier.training.loop import predict, train
from pi10_classifier.training.memory import free_memory
from pi10_classifier.training.metrics import fit_temperature, report
from pi10_classifier.training.plan import Plan, config_of, origin_of, teacher_of
from pi10_classifier.training.predictions import PREDICTIONS, Predictions, write_predictions
from pi10_classifier.training.recipe import changed
from pi10_classifier.training.reporter import Reporter, Silence, told
from pi10_classifier.training.sample import left_out_csv
from pi10_classifier.training.split import counts

U8 = NDArray[np.uint8]
Say = Callable[[str], None]

PARITY_COUNT = 256
_LIMITS = (
    "The figures above hold for images like those above, drawn from the same data. Another"
    " camera, sea or season may do worse: label some of its images and check."
)
_NEVER_SEEN = "Images of other cameras, seas and seasons than those of the table of data."


def train_seeds(
    examples: Examples,
    plan: Plan,
    *,
    resume: bool = False,
    say: Say = print,
    check: Callable[[], None] = lambda: None,
    reporter: Reporter | None = None,
    test: bool = True,
) -> list[Path]:
    """Train each seed in ``plan.out/seed-N``; return those folders.

    Each holds config.json, metrics.csv (a line an epoch), checkpoint/ (the best epoch's
    weights as safetensors), package/ (ONNX, behind the parity gate), test_predictions.csv,
    the last to be written, and until then resume/. What is done is not done again.
    test: False leaves the test split alone: then neither package/ nor predictions are
    written, and validation.json is the last.
    Raises SettingError, ModelError or OutputError; KeyboardInterrupt from ``check``.
    """
    teller = reporter or Silence()
    if not _first_process():  # of several on one machine or more: it trains, and writes nothing
        return _follow(examples, plan, check)
    with out.locked(plan.out):
        if not resume and any(plan.out.glob("seed-*")):
            raise SettingError(
                f"{plan.out} holds trainings; go on with --resume, or choose another --out"
            )
        write_atomically(plan.out / out.MANIFEST, examples.manifest.encode("utf-8"))
        if examples.scan.left_out or not (plan.out / out.LEFT_OUT).is_file():
            text = left_out_csv(examples.scan.left_out)
            write_atomically(plan.out / out.LEFT_OUT, text.encode("utf-8"))
        teacher = teacher_of(examples, plan, say)
        images: tuple[TrainingSet, HeldOut] | None = None
        with told(teller, plan.out, {**config_of(examples, plan, teacher), "seeds": plan.seeds}):
            for seed in plan.seeds:
                run = _Run(examples, plan, seed, teacher, say)
                out.begin(run.folder, run.config, resume)
                child = teller.child(run.folder.name)
                if (run.folder / (PREDICTIONS if test else out.VALIDATION)).is_file():
                    say(f"{run.folder} is done")
                    child.on_done_before(run.folder, run.config)
                    continue
                say(f"seed {seed}: {run.folder}")
                if images is None:
                    images = _load(examples, plan, teacher)
                with told(child, run.folder, run.config):
                    run.train(*images, check, child)
                    if test:
                        run.package()
                        run.test()
                    else:
                        out.write_validation(run.folder)
                    shutil.rmtree(run.folder / out.RESUME, ignore_errors=True)
    return [_folder(plan, seed) for seed in plan.seeds]


class _Run:
    """One seed."""

    def __init__(
        self, examples: Examples, plan: Plan, seed: int, teacher: PackageTeacher | None, say: Say
    ) -> None:
        self.examples, self.plan, self.teacher, self.say = examples, plan, teacher, say
        self.recipe = changed(plan.recipe, seed=seed)
        self.folder = _folder(plan, seed)
        self.checkpoint = self.folder / out.CHECKPOINT
        self.config = config_of(examples, plan, teacher, self.recipe)

    def train(
        self,
        training: TrainingSet,
        validation: HeldOut,
        check: Callable[[], None],
        reporter: Reporter,
    ) -> None:
        """Leaves the best epoch's weights in ``checkpoint/``."""
        plan, folder = self.plan, self.folder
        torch.manual_seed(self.recipe.seed)
        network = plan.build(len(self.examples.classes))
        self._keep_parity(validation)
        fields = self._describe()

        def keep(average: nn.Module, reached: dict[str, Any]) -> None:
            logits = predict(average, validation.images)
            fields["temperature"] = fit_temperature(logits, validation.truth)
            fields["training"] |= _spent(reached["history"], plan.device)
            save_checkpoint(self.checkpoint, average, fields)

        history = train(
            network,
            training,
            validation,
            self.recipe,
            keep,
            self.say,
            names=self.examples.classes,
            folder=folder / out.RESUME,
            resume=(folder / out.RESUME).is_dir(),
            save_steps=plan.save_steps,
            teacher=self.teacher,
            watchers=[_Epochs(folder, reporter)],
            threads=plan.threads,
            device=plan.device,
            check=check,
        )
        out.write_metrics(folder, history)
        # The kept epoch is rarely the last: what came after it belongs to the record too.
        _, kept = load_checkpoint(self.checkpoint)
        kept["training"] |= _spent(history, plan.device)
        write_description(self.checkpoint, kept)

    def package(self) -> None:
        """Export; raises ModelError where ONNX Runtime and torch differ by more than 1e-4."""
        export_package(self.checkpoint, self.folder / out.PACKAGE)

    def test(self) -> None:
        """Judge the package on the test split, once, and store what it said of each image."""
        package = self.folder / out.PACKAGE
        model = Model.load(package)
        classes = self.examples.classes
        place = {name: i for i, name in enumerate(classes)}
        names: list[tuple[str, str]] = []
        truth: list[int] = []
        scores: list[NDArray[np.float32]] = []
        for samples, images in batches(self.examples, "test", model.package.preprocessing):
            names += [(s.source, s.member) for s in samples]
            truth += [place[s.group] for s in samples]
            scores.append(model.scores(images))
        said, right = np.concatenate(scores).astype(np.float64), np.asarray(truth, np.int64)
        if not np.isfinite(said).all():
            raise ModelError(f"{package} gives scores that are no numbers; train again, slower")
        _, fields = load_checkpoint(self.checkpoint)
        fields["metrics"] = {"test split": report(right, said, classes)}
        write_description(self.checkpoint, fields)
        describe(package, fields)
        guess = said.argmax(axis=1).astype(np.int64)
        loss, seed = self.recipe.loss, self.recipe.seed
        row = Predictions(self.plan.network, loss, seed, classes, tuple(names), right, guess, said)
        write_predictions(self.folder, row)
        f1 = fields["metrics"]["test split"]["macro_f1"]
        self.say(
            f"seed {seed}: test macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f}),"
            f" {len(names)} images"
        )

    def _keep_parity(self, validation: HeldOut) -> None:
        path = self.checkpoint / PARITY_IMAGES
        try:
            self.checkpoint.mkdir(exist_ok=True)
            np.save(path, spread(validation.images, PARITY_COUNT))
        except OSError as error:
            raise output_error(error, path) from error

    def _describe(self) -> dict[str, Any]:
        plan, examples = self.plan, self.examples
        identity = json.dumps(self.config["identity"], sort_keys=True, default=str)
        return {
            "format": 1,
            "name": plan.name or plan.network,
            "version": "1",
            "architecture": plan.network,
            "head": plan.head,
            "classes": list(examples.classes),
            "preprocessing": self.recipe.spec.to_dict(),
            "temperature": 1.0,
            "never_seen": _NEVER_SEEN,
            "limits": _LIMITS,
            "training": {
                "data": [
                    {
                        "name": source,
                        "source": source,
                        "licence": "not stated",
                        "images": counts(
                            (s for s in examples.samples if s.source == source), examples.classes
                        ),
                    }
                    for source in examples.scan.origins
                ],
                "split": plan.split,
                "split_sha256": examples.sha256,
                "chosen": "",
                "command": plan.command,
                "run_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
                "seed": self.recipe.seed,
                "initial_weights": origin_of(plan),
                "recipe": self.recipe.to_dict(),
                "software": self.config["software"],
                **self.config["notes"],
            },
            "metrics": {},
        }


class _Epochs:
    """Writes and reports each epoch's figures."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        out.add_metrics(self.folder, record)
        numbers = {k: float(v) for k, v in record.items() if isinstance(v, (int, float))}
        self.reporter.on_epoch(numbers, int(numbers.pop("epoch")))


def _load(
    examples: Examples, plan: Plan, teacher: PackageTeacher | None
) -> tuple[TrainingSet, HeldOut]:
    side = teacher.spec.size if teacher and teacher.spec else 0
    training, validation = load(examples, plan.recipe, side, free_memory(torch.device("cpu")))
    return add_drawn(training, examples.classes, plan.recipe.drawn), validation


def _spent(history: Sequence[Mapping[str, Any]], device: str) -> dict[str, Any]:
    best = max(history, key=lambda r: (r["validation_macro_f1"], -r["epoch"]))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    return {
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "minutes": round(sum(r.get("seconds", 0.0) for r in history) / 60, 1),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else "",
        "history": list(history),
    }


def _folder(plan: Plan, seed: int) -> Path:
    return plan.out / f"seed-{seed}"


def _first_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _follow(examples: Examples, plan: Plan, check: Callable[[], None]) -> list[Path]:
    """What the other processes of ``accelerate launch`` do: their share of each training."""
    teacher = teacher_of(examples, plan, lambda line: None)
    images = _load(examples, plan, teacher)
    for seed in plan.seeds:
        recipe = changed(plan.recipe, seed=seed)
        if (_folder(plan, seed) / PREDICTIONS).is_file():
            continue
        torch.manual_seed(seed)
        train(
            plan.build(len(examples.classes)),
            *images,
            recipe,
            lambda *_: None,
            lambda line: None,
            names=examples.classes,
            folder=_folder(plan, seed) / out.RESUME,
            resume=(_folder(plan, seed) / out.RESUME).is_dir(),
            save_steps=plan.save_steps,
            teacher=teacher,
            threads=plan.threads,
            device=plan.device,
            check=check,
        )
    return [_folder(plan, seed) for seed in plan.seeds]
