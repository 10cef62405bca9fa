"""Runs one seed of ``pi10 train``: training, packaging, test and description."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pi10_classifier.datasets.records import Sample
from pi10_classifier.datasets.split import counts
from pi10_classifier.datasets.validated import labels_used
from pi10_classifier.errors import ModelError, output_error
from pi10_classifier.evaluation.metrics import fit_temperature, report
from pi10_classifier.evaluation.test_predictions import Predictions, write_predictions
from pi10_classifier.foundation.concurrency import ordered_map
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.model.groups import FIELD as GROUPS
from pi10_classifier.model.measured import FIELD as MEASURED
from pi10_classifier.model.measured import INPUT, Measured
from pi10_classifier.model.package import FORMAT, MADE_OF
from pi10_classifier.model.session import Model
from pi10_classifier.training import output_folder as out
from pi10_classifier.training.checkpoint import load_checkpoint, save_checkpoint, write_description
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.data.groups import counted, groups_of
from pi10_classifier.training.data.in_memory import HeldOut, TrainingSet, spread
from pi10_classifier.training.data.loading import Batch, Examples, batches
from pi10_classifier.training.distillation import PackageTeacher
from pi10_classifier.training.loop.loop import predict, train
from pi10_classifier.training.networks.from_package import settle
from pi10_classifier.training.networks.grouped import without_groups
from pi10_classifier.training.networks.measured import Standard
from pi10_classifier.training.onnx_export import (
    PARITY_IMAGES,
    PARITY_NUMBERS,
    describe,
    export_package,
)
from pi10_classifier.training.plan import TrainingPlan, config_of, named, provenance
from pi10_classifier.training.recipe import Recipe, changed
from pi10_classifier.training.reporter import Reporter

Emit = Callable[[str], None]

PARITY_COUNT = 256
_SETTLING = 16  # batches
_AHEAD = 2  # batches of test images in flight per core
_LINE_S = 30.0  # seconds between lines on the test's progress
TEST = "test split"  # in a package's metrics: all sources together
_LIMITS = (
    "The figures above hold for images like those above, drawn from the same data. Another"
    " camera, sea or season may do worse: label some of its images and check."
)
_NEVER_SEEN = "Images of other cameras, seas and seasons than those of the table of data."


class SeedRun:
    """One seed of a plan, trained, packaged and tested in ``folder``."""

    def __init__(
        self,
        examples: Examples,
        plan: TrainingPlan,
        seed: int,
        teacher: PackageTeacher | None,
        emit: Emit,
    ) -> None:
        self.examples, self.plan, self.teacher, self.emit = examples, plan, teacher, emit
        self.recipe = changed(plan.recipe, seed=seed)
        self.folder = plan.folder(seed)
        self.checkpoint = self.folder / out.CHECKPOINT
        self.groups = groups_of(examples, self.recipe)
        self.config = config_of(examples, plan, teacher, self.recipe)

    def train(
        self,
        training: TrainingSet,
        validation: HeldOut,
        raise_if_cancelled: Callable[[], None],
        reporter: Reporter,
    ) -> None:
        """Train the network; the best epoch's weights are in ``checkpoint/`` afterwards."""
        plan, folder = self.plan, self.folder
        torch.manual_seed(self.recipe.seed)
        names = self.recipe.numbers
        standard = Standard.of(names, training.measured) if names else None
        network = plan.build(self.examples.classes, self.groups, standard)
        if plan.package:
            settle(network, _first_batches(training, self.recipe, len(self.examples.classes)))
        self._keep_parity(validation)
        fields = self._describe()

        def keep(average: nn.Module, reached: dict[str, Any]) -> None:
            logits = predict(average, validation.images, validation.measured)
            fields["temperature"] = fit_temperature(logits, validation.truth)
            fields["training"] |= _spent(reached["history"], plan.device)
            save_checkpoint(self.checkpoint, without_groups(average), fields)

        history = train(
            network,
            training,
            validation,
            self.recipe,
            keep,
            self.emit,
            names=self.examples.classes,
            folder=folder / out.RESUME,
            resume=(folder / out.RESUME).is_dir(),
            save_steps=plan.save_steps,
            teacher=self.teacher,
            listeners=[_Epochs(folder, reporter)],
            loaders=plan.loaders,
            device=plan.device,
            raise_if_cancelled=raise_if_cancelled,
        )
        out.write_metrics(folder, history)
        # The kept epoch is rarely the last; the record includes the later epochs too.
        _, kept = load_checkpoint(self.checkpoint)
        kept["training"] |= _spent(history, plan.device)
        write_description(self.checkpoint, kept)

    def package(self) -> None:
        """Export the package; raises ModelError if ONNX Runtime and torch differ by over 1e-4."""
        export_package(self.checkpoint, self.folder / out.PACKAGE)

    def test(self, raise_if_cancelled: Callable[[], None]) -> None:
        """Test the package once on the test split, and store its prediction for each image.

        Batches run on all cores; ``raise_if_cancelled`` is called after each.
        """
        package = self.folder / out.PACKAGE
        model = Model.load(package)
        classes = self.examples.classes
        place = {name: i for i, name in enumerate(classes)}
        names: list[tuple[str, str]] = []
        truth: list[int] = []
        scores: list[NDArray[np.float32]] = []
        spec, last_line_at = model.package.preprocessing, time.monotonic()
        shown = batches(self.examples, "test", spec, names=self.recipe.numbers)

        def ask(batch: Batch) -> tuple[list[Sample], NDArray[np.float32]]:
            taken = batch.measured if self.recipe.numbers else None
            return batch.samples, model.scores(batch.images, taken)

        for samples, said_of in ordered_map(ask, shown, default_jobs(), _AHEAD):
            names += [(s.source, s.member) for s in samples]
            truth += [place[s.group] for s in samples]
            scores.append(said_of)
            raise_if_cancelled()
            if time.monotonic() - last_line_at > _LINE_S:
                self.emit(f"  tested {len(names):,} of {len(self.examples.of('test')):,} images")
                last_line_at = time.monotonic()
        probabilities, right = (
            np.concatenate(scores).astype(np.float64),
            np.asarray(truth, np.int64),
        )
        if not np.isfinite(probabilities).all():
            raise ModelError(
                f"{package} gives scores that are not numbers; train again with a"
                " lower learning rate"
            )
        _, fields = load_checkpoint(self.checkpoint)
        fields["parity"] = model.package.description["parity"]
        fields["metrics"] = {TEST: report(right, probabilities, classes)}
        origins = np.asarray([source for source, _ in names])
        for source in self.examples.scan.origins if len(self.examples.scan.origins) > 1 else ():
            part = origins == source
            if part.any():
                fields["metrics"][source] = report(right[part], probabilities[part], classes)
        write_description(self.checkpoint, fields)
        describe(package, fields)
        guess = probabilities.argmax(axis=1).astype(np.int64)
        loss, seed = self.recipe.loss, self.recipe.seed
        row = Predictions(
            self.plan.network, loss, seed, classes, tuple(names), right, guess, probabilities
        )
        write_predictions(self.folder, row)
        f1 = fields["metrics"][TEST]["macro_f1"]
        self.emit(
            f"seed {seed}: test macro-F1 {f1['value']:.3f} ({f1['low']:.3f} to {f1['high']:.3f}),"
            f" {len(names)} images"
        )

    def _keep_parity(self, validation: HeldOut) -> None:
        path = self.checkpoint / PARITY_IMAGES
        try:
            self.checkpoint.mkdir(exist_ok=True)
            np.save(path, spread(validation.images, PARITY_COUNT))
            if self.recipe.numbers:
                path = self.checkpoint / PARITY_NUMBERS
                np.save(path, spread(validation.measured, PARITY_COUNT))
        except OSError as error:
            raise output_error(error, path) from error

    def _describe(self) -> dict[str, Any]:
        plan, examples, groups = self.plan, self.examples, self.groups
        names = self.recipe.numbers
        identity = json.dumps(self.config["identity"], sort_keys=True, default=str)
        return {
            "format": FORMAT,
            "name": plan.name or plan.network,
            "version": "1",
            "architecture": plan.network,
            "head": plan.head,
            "classes": list(examples.classes),
            "preprocessing": self.recipe.spec.to_dict(),
            **({GROUPS: groups.to_dict()} if groups else {}),
            **({MEASURED: Measured(INPUT, names).to_dict()} if names else {}),
            "temperature": 1.0,
            "never_seen": plan.never_seen or _NEVER_SEEN,
            "licence": plan.licence,
            "limits": _LIMITS,
            "training": {
                "data": [
                    {
                        "name": source,
                        **plan.source(source),
                        "images": counts(
                            (s for s in examples.samples if s.source == source), examples.classes
                        ),
                    }
                    for source in examples.scan.origins
                ],
                "cameras": self.config["identity"]["cameras"],
                "split": plan.split,
                "split_sha256": examples.sha256,
                "chosen": "",
                "command": plan.command,
                "named": named(plan),
                "run_id": hashlib.sha256(identity.encode()).hexdigest()[:16],
                "seed": self.recipe.seed,
                "initial_weights": provenance(plan),
                **self._new_rows(),
                "recipe": self.recipe.to_dict(),
                "software": self.config["software"],
                **({"groups": counted(examples, groups)} if groups else {}),
                **self.config["notes"],
            },
            "metrics": {},
            MADE_OF: labels_used(
                examples.scan, (s for s in examples.samples if s.split != "test"), "trained"
            ),
        }

    def _new_rows(self) -> dict[str, list[str]]:
        """Rows of the last layer that the initial weights had nothing for."""
        rows = self.plan.head_rows(self.examples.classes, self.groups)
        return {"new_rows": list(rows.new)} if rows and rows.new else {}


def _first_batches(training: TrainingSet, recipe: Recipe, classes: int) -> Iterator[Tensor]:
    """Images as in the training, to set the norms of a network that was loaded from a package."""
    batches = Batches(training, recipe, classes)
    try:
        for place in range(min(_SETTLING, len(batches))):
            yield batches[place]["image"]
    finally:
        batches.close()


class _Epochs:
    """Writes and reports each epoch's figures."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        out.add_metrics(self.folder, record)
        numbers = {k: float(v) for k, v in record.items() if isinstance(v, (int, float))}
        self.reporter.on_epoch(numbers, int(numbers.pop("epoch")))


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
