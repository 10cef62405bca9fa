"""The core of ``pi10 train``: train, package and test each seed of a plan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from pi10_classifier.datasets.records import left_out_csv
from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import macro_f1
from pi10_classifier.evaluation.test_predictions import PREDICTIONS, read_predictions
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.training import output_folder as out
from pi10_classifier.training.data.groups import absent, groups_of, numbering
from pi10_classifier.training.data.in_memory import HeldOut, TrainingSet
from pi10_classifier.training.data.loading import Examples, load
from pi10_classifier.training.data.synthetic import add_synthetic
from pi10_classifier.training.distillation import PackageTeacher
from pi10_classifier.training.loop.loop import train
from pi10_classifier.training.loop.memory import free_memory
from pi10_classifier.training.loop.preflight import arguments_of, checked_loss
from pi10_classifier.training.networks.measured import Standard
from pi10_classifier.training.plan import TrainingPlan, config_of, teacher_of
from pi10_classifier.training.recipe import changed
from pi10_classifier.training.reporter import NullReporter, Reporter, reported
from pi10_classifier.training.seed_run import SeedRun

Emit = Callable[[str], None]


def train_seeds(
    examples: Examples,
    plan: TrainingPlan,
    *,
    resume: bool = False,
    emit: Emit = print,
    raise_if_cancelled: Callable[[], None] = lambda: None,
    reporter: Reporter | None = None,
    test: bool = True,
) -> list[Path]:
    """Train each seed in ``plan.out/seed-N``; return these folders.

    Each folder holds config.json, metrics.csv (one line per epoch), checkpoint/ (the best epoch's
    weights as safetensors), package/ (ONNX, after the parity gate) and test_predictions.csv, which
    is written last; until then also resume/. Finished seeds are not trained again.
    test: False does not use the test split. Then package/ and predictions are not written, and
    validation.json is the last file.
    Raises SettingError, ModelError or OutputError; KeyboardInterrupt from ``raise_if_cancelled``.
    """
    active = reporter or NullReporter()
    if not _first_process():  # other processes of a launch train, but write nothing
        return _follow(examples, plan, raise_if_cancelled)
    with out.locked(plan.out):
        if not resume and any(map(out.reached, plan.out.glob("seed-*"))):
            raise SettingError(
                f"{plan.out} holds trainings; continue with --resume, or choose another --out"
            )
        write_atomically(plan.out / out.MANIFEST, examples.manifest.encode("utf-8"))
        if examples.scan.left_out or not (plan.out / out.LEFT_OUT).is_file():
            text = left_out_csv(examples.scan.left_out)
            write_atomically(plan.out / out.LEFT_OUT, text.encode("utf-8"))
        teacher = teacher_of(examples, plan, emit)
        last = PREDICTIONS if test else out.VALIDATION
        if not is_done(plan, last):
            check(examples, plan, emit)
        for seed in plan.seeds:  # before reporting, so that a refused seed changes no tracking run
            run = SeedRun(examples, plan, seed, teacher, emit)
            out.begin(run.folder, run.config, resume)
        images: tuple[TrainingSet, HeldOut] | None = None
        folders = [plan.folder(seed) for seed in plan.seeds]
        with reported(
            active, plan.out, {**config_of(examples, plan, teacher), "seeds": plan.seeds}
        ):
            for seed in plan.seeds:
                run = SeedRun(examples, plan, seed, teacher, emit)
                child = active.child(run.folder.name)
                if (run.folder / last).is_file():
                    emit(f"{run.folder} is done")
                    child.on_done_before(run.folder, run.config)
                    continue
                emit(f"seed {seed}: {run.folder}")
                if images is None:
                    images = _load(examples, plan, teacher)
                with reported(child, run.folder, run.config):
                    run.train(*images, raise_if_cancelled, child)
                    if test:
                        run.package()
                        raise_if_cancelled()
                        run.test(raise_if_cancelled)
                    else:
                        out.write_validation(run.folder)
                    shutil.rmtree(run.folder / out.RESUME, ignore_errors=True)
            if test and len(folders) > 1:
                emit(_over_seeds(folders))
    return folders


def _over_seeds(folders: Sequence[Path]) -> str:
    """Mean and standard deviation of the test macro-F1, for people."""
    rows = [read_predictions(folder) for folder in folders]
    found = [macro_f1(row.truth, row.guess, len(row.classes)) for row in rows]
    return (
        f"{len(found)} seeds: test macro-F1 {np.mean(found):.3f} in the mean, standard deviation"
        f" {np.std(found, ddof=1):.3f}"
    )


def is_done(plan: TrainingPlan, last: str = PREDICTIONS) -> bool:
    """Whether all seeds are trained. last: the file that is written last."""
    return all((plan.folder(seed) / last).is_file() for seed in plan.seeds)


def check(examples: Examples, plan: TrainingPlan, emit: Emit) -> None:
    """Raise for what cannot be trained, before any folder, decoding or tracking."""
    groups = groups_of(examples, plan.recipe)
    place = {name: i for i, name in enumerate(examples.classes)}
    fit, held = (
        np.array([place[s.group] for s in examples.of(part)], np.int64)
        for part in ("train", "validation")
    )
    no_images = np.zeros((0, 1, 1, 1), np.uint8)
    arguments_of(plan.recipe, plan.out, plan.device)
    checked_loss(
        plan.build(examples.classes, groups),
        TrainingSet([], fit, fit),
        HeldOut(no_images, held),
        plan.recipe,
        examples.classes,
    )
    if plan.recipe.loss in ("las", "dynamic_las") and len(set(np.bincount(fit).tolist())) == 1:
        tail = plan.recipe.loss_options.get("tail", 0.0)
        emit(
            f"all classes have {len(fit) // len(place):,} training images, so"
            f" {plan.recipe.loss} smooths all of them by {tail:g}, the value for the rarest"
            " class"
        )
    rows = plan.head_rows(examples.classes, groups)
    if rows and (note := rows.note(plan.init)):
        emit(note)
    if groups and (lacking := absent(examples, groups)):
        emit(
            f"note: no training image is of the group {', '.join(lacking)}, so the network predicts"
            f" the other {len(groups.names)}"
        )


def _load(
    examples: Examples, plan: TrainingPlan, teacher: PackageTeacher | None
) -> tuple[TrainingSet, HeldOut]:
    side = teacher.side if teacher else 0
    recipe = plan.recipe
    groups = groups_of(examples, recipe)
    group_of = numbering(examples, groups) if groups else None
    free = free_memory(torch.device("cpu"))
    training, validation = load(examples, recipe, side, free, group_of)
    training = add_synthetic(
        training, examples.classes, recipe.drawn, kind=recipe.drawn_kind, names=recipe.numbers
    )
    return training, validation


def use_threads(count: int) -> None:
    """Set the number of CPU threads of the network."""
    torch.set_num_threads(count)


def _first_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _follow(
    examples: Examples, plan: TrainingPlan, raise_if_cancelled: Callable[[], None]
) -> list[Path]:
    """Train in the other processes of ``accelerate launch``: their share of each training."""
    teacher = teacher_of(examples, plan, lambda line: None)
    images = _load(examples, plan, teacher)
    groups = groups_of(examples, plan.recipe)
    for seed in plan.seeds:
        recipe = changed(plan.recipe, seed=seed)
        if (plan.folder(seed) / PREDICTIONS).is_file():
            continue
        torch.manual_seed(seed)
        names = recipe.numbers
        standard = Standard.of(names, images[0].measured) if names else None
        train(
            plan.build(examples.classes, groups, standard),
            *images,
            recipe,
            lambda *_: None,
            lambda line: None,
            names=examples.classes,
            folder=plan.folder(seed) / out.RESUME,
            resume=(plan.folder(seed) / out.RESUME).is_dir(),
            save_steps=plan.save_steps,
            teacher=teacher,
            loaders=plan.loaders,
            device=plan.device,
            raise_if_cancelled=raise_if_cancelled,
        )
    return [plan.folder(seed) for seed in plan.seeds]
