"""Training: early checks, the recipe's loop on Hugging Face's Trainer, the best epoch kept.

Several GPUs are a launch option: ``accelerate launch -m pi10_classifier train ...``. Each
process takes ``batch`` images a pass, the first one validates and writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import TrainingArguments

from pi10_classifier.errors import SettingError
from pi10_classifier.training.average import Average
from pi10_classifier.training.batches import Batches
from pi10_classifier.training.clock import Clock
from pi10_classifier.training.dataset import HeldOut, TrainingSet
from pi10_classifier.training.distil import Teacher, check_teacher
from pi10_classifier.training.losses import LDAM, Loss, build_loss
from pi10_classifier.training.memory import check_disk, check_memory
from pi10_classifier.training.metrics import confusion, nll, scores
from pi10_classifier.training.network_parts import CosineHead, Output
from pi10_classifier.training.recipe import Recipe
from pi10_classifier.training.resuming import (
    PARTIAL,
    Reached,
    clear,
    latest,
    reading,
    recall,
    writing,
)
from pi10_classifier.training.trainer import LoopTrainer, Watcher

__all__ = ["Recipe", "Watcher", "predict", "train"]

U8 = NDArray[np.uint8]
Keep = Callable[[nn.Module, dict[str, Any]], None]


def train(
    network: nn.Module,
    training: TrainingSet,
    validation: HeldOut,
    recipe: Recipe,
    keep: Keep,
    say: Callable[[str], None] = print,
    *,
    names: Sequence[str] = (),
    folder: Path | None = None,
    resume: bool = False,
    save_steps: int = 0,
    teacher: Teacher | None = None,
    watchers: Sequence[Watcher] = (),
    threads: int | None = None,
    device: str = "",
    check: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Train ``network``; ``keep`` receives the averaged weights at each new best epoch.

    names: of the classes; without them they are numbers. folder: where the training can be
    resumed from, after each epoch and every ``save_steps`` optimiser steps. threads: that
    prepare images. device: "cpu" to leave a GPU alone. check: called after each step; what
    it raises ends the training.

    Returns one record per epoch: input size, images seen, loss, rate, images_per_second,
    waiting (share of the time), validation macro-F1, NLL and F1 of each class, seconds.
    Raises SettingError where a class has no image, a split is empty, memory or disk will
    not do, or the loss is no longer a number; OutputError where a checkpoint cannot be
    written, the one before it still being there.
    """
    names = tuple(names) or _numbers(training, validation)
    loss = _checked(network, training, validation, recipe, names)
    check_teacher(teacher, recipe.distil, len(training.truth), len(names))
    with tempfile.TemporaryDirectory() as nowhere, _determinism(recipe):
        home = Path(nowhere) if folder is None else folder
        arguments = _arguments(recipe, home, device)
        found = _prepare_folder(folder, resume, arguments, say)
        network = network.to(arguments.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if arguments.process_index == 0 and folder is not None:
            check_disk(network, folder, recipe.ema > 0)
        check_memory(
            network,
            min(recipe.batch, len(training.truth)),
            recipe.size,
            recipe.channels,
            recipe.ema > 0,
            recipe.precision != "float32",
        )
        average = Average(network, recipe.ema)
        identity = _identity(network, training, recipe, names, arguments.world_size)
        reached = Reached(identity)
        if found is not None:
            reached = recall(found, identity, average.network if recipe.ema else None)
            if _finished(reached.history, recipe, reached.seconds):
                say(f"{found.parent} is a finished training; nothing to do")
                return reached.history
            say(f"going on from {found.name}, epoch {len(reached.history) + 1}")
        batches = Batches(
            training,
            recipe,
            len(names),
            teacher=teacher,
            threads=threads or _threads(arguments),
            rank=arguments.process_index,
            world=arguments.world_size,
        )
        steps = recipe.epochs * -(-len(batches) // recipe.accumulate)
        clock = Clock(recipe, steps, reached.seconds)

        def judge(record: dict[str, Any]) -> bool:
            record |= _validate(average.network, validation, names)
            history = [*reached.history, record]
            say(f"{clock} {json.dumps(record)}")
            for watcher in watchers:
                watcher.on_epoch(record)
            if _best(history) == len(history):
                keep(average.network, {"best": record, "history": history})
            return _finished(history, recipe)

        try:
            trainer = LoopTrainer(
                network,
                arguments,
                recipe=recipe,
                batches=batches,
                loss=loss,
                clock=clock,
                average=average,
                reached=reached,
                judge=judge,
                say=say if arguments.process_index == 0 else lambda line: None,
                check=check,
                folder=folder,
                save_steps=save_steps,
            )
            trainer.reading = found is not None
            with (
                writing(home, lambda: trainer.writing),
                reading(home, lambda: trainer.reading),
                _memory(recipe),
            ):
                trainer.train(resume_from_checkpoint=str(found) if found else None)
        finally:
            batches.close()
            if folder is not None and arguments.process_index == 0:
                clear(folder)
        return reached.history


@torch.no_grad()
def predict(network: nn.Module, images: U8, batch: int = 128) -> NDArray[np.float32]:
    """Prepared images (N, C, S, S) uint8 -> logits (N, K) float32, in eval mode."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        Output(*network(torch.from_numpy(images[i : i + batch]).to(device))).logits.float().cpu()
        for i in range(0, len(images), batch)
    ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _validate(network: nn.Module, held: HeldOut, names: Sequence[str]) -> dict[str, Any]:
    logits = predict(network, held.images)
    guess = logits.argmax(axis=1)
    f1 = scores(confusion(held.truth, guess, len(names)))["f1"]
    return {
        "validation_macro_f1": round(held.macro_f1(guess, len(names)), 5),
        "validation_nll": round(nll(logits, held.truth), 5),
        **{f"validation_f1_{name}": round(float(f1[i]), 5) for i, name in enumerate(names)},
    }


def _best(history: Sequence[Mapping[str, Any]]) -> int:
    """The epoch of the highest validation macro-F1, the first of equals."""
    return int(max(history, key=lambda r: (r["validation_macro_f1"], -r["epoch"]))["epoch"])


def _finished(history: Sequence[Mapping[str, Any]], recipe: Recipe, seconds: float = 0.0) -> bool:
    if not history:
        return False
    tired = 0 < recipe.patience <= len(history) - _best(history)
    late = recipe.minutes is not None and seconds >= 60 * recipe.minutes
    return tired or late or len(history) >= recipe.epochs


def _numbers(training: TrainingSet, validation: HeldOut) -> tuple[str, ...]:
    both = [int(truth.max()) for truth in (training.truth, validation.truth) if len(truth)]
    return tuple(str(i) for i in range(max(both, default=0) + 1))


def _checked(
    network: nn.Module,
    training: TrainingSet,
    validation: HeldOut,
    recipe: Recipe,
    names: Sequence[str],
) -> Loss:
    """The loss, once data, recipe and network are known to suit each other."""
    for split, truth in (("training", training.truth), ("validation", validation.truth)):
        if not len(truth):
            raise SettingError(f"the {split} split is empty; give more images, or another split")
        counts = np.bincount(truth, minlength=len(names))
        for name, count in zip(names, counts.tolist(), strict=True):
            if not count:
                raise SettingError(
                    f"class {name!r} has no {split} image; give some (about ten a class are the"
                    " least), or leave the class out by the label map"
                )
    counts = np.bincount(training.truth, minlength=len(names))
    loss = build_loss(recipe.loss, counts.tolist(), **recipe.loss_options)
    heads = [module for module in network.modules() if isinstance(module, CosineHead)]
    if loss.needs_cosine and not heads:
        raise SettingError(f"loss {recipe.loss} needs a network built with head='cosine'")
    if isinstance(loss, LDAM) and heads[0].scale != loss.scale:
        raise SettingError(
            f"LDAM's scale is {loss.scale}, the network's is {heads[0].scale}; leave the scale out"
        )
    if loss.needs_attention and not getattr(network, "attention", False):
        raise SettingError(
            f"loss {recipe.loss} needs the attention of a vit or beit, built with attention=True"
        )
    if recipe.mixup and not loss.soft:
        raise SettingError(f"loss {recipe.loss} is not defined for mixed images; set mixup to 0")
    return loss


def _arguments(recipe: Recipe, home: Path, device: str) -> TrainingArguments:
    if device not in ("", "cpu"):
        raise SettingError(f"device is {device!r}; it must be 'cpu', or empty for the best there")
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    if recipe.precision == "fp16" and on_cpu:
        raise SettingError("precision fp16 needs a GPU; use bf16 or float32")
    try:
        arguments = TrainingArguments(
            output_dir=str(home / PARTIAL),
            per_device_train_batch_size=recipe.batch,
            gradient_accumulation_steps=recipe.accumulate,
            num_train_epochs=recipe.epochs,
            max_grad_norm=recipe.clip,
            bf16=recipe.precision == "bf16",
            fp16=recipe.precision == "fp16",
            seed=recipe.seed,
            full_determinism=recipe.deterministic,
            use_cpu=on_cpu,
            ddp_find_unused_parameters=False,
            # what our own callback and judge do
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            disable_tqdm=True,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
        )
        world = arguments.world_size  # sets up devices, which may fail
    except ValueError as error:
        raise SettingError(f"this machine cannot train so: {error}") from error
    arguments._n_gpu = min(1, arguments.n_gpu)  # several only by launch, one process each
    if recipe.minutes and world > 1:
        raise SettingError("minutes cannot be kept by several processes alike; set epochs alone")
    return arguments


def _prepare_folder(
    folder: Path | None, resume: bool, arguments: TrainingArguments, say: Callable[[str], None]
) -> Path | None:
    """The checkpoint to go on from, if any."""
    if folder is None:
        if resume:
            raise SettingError("there is no folder to resume from")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.process_index == 0:
        clear(folder)
    found = latest(folder)
    if found and not resume:
        raise SettingError(
            f"{folder} holds a training ({found.name}); go on with --resume, or give another folder"
        )
    if resume and not found:
        say(f"{folder} holds no checkpoint yet; beginning anew")
    return found


def _identity(
    network: nn.Module, training: TrainingSet, recipe: Recipe, names: Sequence[str], world: int
) -> str:
    """What must be the same for a training to go on; of the images, their classes and order."""
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    truth = hashlib.sha256(training.truth.astype(np.int64).tobytes()).hexdigest()
    parts = [recipe.to_dict(), list(names), truth, shapes, world]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _threads(arguments: TrainingArguments) -> int:
    """On a CPU the network needs the cores itself; beside a GPU they are all for the data."""
    if arguments.device.type == "cpu":
        return 1
    shared = (os.cpu_count() or 2) // int(arguments.world_size)
    return max(1, shared - 1)


@contextlib.contextmanager
def _determinism(recipe: Recipe) -> Iterator[None]:
    """Leave torch as it was: Trainer switches determinism on for the whole process."""
    before = torch.are_deterministic_algorithms_enabled()
    cudnn: Any = torch.backends.cudnn
    flags = (cudnn.deterministic, cudnn.benchmark)
    try:
        yield
    finally:
        if recipe.deterministic:
            torch.use_deterministic_algorithms(before)
            cudnn.deterministic, cudnn.benchmark = flags


@contextlib.contextmanager
def _memory(recipe: Recipe) -> Iterator[None]:
    """Say what to do where memory runs out after all."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        plain = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if plain and "allocate memory" not in str(error):
            raise
        raise SettingError(
            f"memory ran out at {recipe.batch} images of {recipe.size} px a pass; lower --batch"
            f" and raise --accumulate ({recipe.accumulate}) to make up for it"
        ) from error
