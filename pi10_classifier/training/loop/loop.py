"""Trains a network: preflight, loop, and the weights of the best epoch.

To use several GPUs, run ``accelerate launch -m pi10_classifier train ...``. Each process takes
``batch`` images per pass; only the first one validates and writes.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pi10_classifier.errors import SettingError
from pi10_classifier.evaluation.metrics import confusion, nll, scores
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.data.in_memory import HeldOut, TrainingSet
from pi10_classifier.training.distillation import Teacher, check_teacher
from pi10_classifier.training.loop.auxiliary_head import with_auxiliary_head, without_auxiliary_head
from pi10_classifier.training.loop.ema import Average
from pi10_classifier.training.loop.memory import check_disk, check_memory
from pi10_classifier.training.loop.preflight import (
    arguments_of,
    checked_loss,
    class_numbers,
    identity_of,
    last_checkpoint,
    loaders_of,
    use_processes,
)
from pi10_classifier.training.loop.resume_state import Reached, clear, reading, recall, writing
from pi10_classifier.training.loop.schedule import Schedule
from pi10_classifier.training.loop.trainer import EpochListener, LoopTrainer
from pi10_classifier.training.networks.base import Output
from pi10_classifier.training.recipe import Recipe

__all__ = ["EpochListener", "Recipe", "predict", "train"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Keep = Callable[[nn.Module, dict[str, Any]], None]


def train(
    network: nn.Module,
    training: TrainingSet,
    validation: HeldOut,
    recipe: Recipe,
    keep: Keep,
    emit: Callable[[str], None] = print,
    *,
    names: Sequence[str] = (),
    folder: Path | None = None,
    resume: bool = False,
    save_steps: int = 0,
    teacher: Teacher | None = None,
    listeners: Sequence[EpochListener] = (),
    loaders: int | None = None,
    processes: bool | None = None,
    device: str = "",
    raise_if_cancelled: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Train ``network``; ``keep`` receives the averaged weights at each new best epoch.

    names: the classes' names; by default numbers. folder: for checkpoints, which are written after
    each epoch and every ``save_steps`` optimiser steps. loaders: the number of threads or processes
    that prepare images; None chooses it for the device. device: "cpu" to use no GPU.
    raise_if_cancelled: called after each step; what it raises ends the training.

    Returns one record per epoch: input size, images seen, loss, rate, images_per_second,
    waiting (share of the time), validation macro-F1, NLL and F1 of each class, seconds.
    Raises SettingError if a class has no image, a split is empty, memory or disk space are not
    sufficient, or the loss is no longer a number. Raises OutputError if a checkpoint cannot be
    written; the one before it is kept.
    """
    names = tuple(names) or class_numbers(training, validation)
    loss = checked_loss(network, training, validation, recipe, names)
    check_teacher(teacher, recipe.distil, len(training.truth), len(names))
    with tempfile.TemporaryDirectory() as nowhere, determinism(recipe):
        home = Path(nowhere) if folder is None else folder
        arguments = arguments_of(recipe, home, device)
        checkpoint = last_checkpoint(folder, resume, arguments, emit)
        network = with_auxiliary_head(network.to(arguments.device), training, recipe)
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
        identity = identity_of(network, training, recipe, names, arguments.world_size)
        reached = Reached(identity)
        if checkpoint is not None:
            reached = recall(checkpoint, identity, average.network if recipe.ema else None)
            if _finished(reached.history, recipe, reached.seconds):
                emit(f"{checkpoint.parent} is a finished training; nothing to do")
                return reached.history
            emit(f"continuing from {checkpoint.name}, epoch {len(reached.history) + 1}")
        batches = Batches(
            training,
            recipe,
            len(names),
            teacher=teacher,
            loaders=loaders or loaders_of(arguments),
            processes=use_processes(arguments) if processes is None else processes,
            rank=arguments.process_index,
            world=arguments.world_size,
        )
        steps = recipe.epochs * -(-len(batches) // recipe.accumulate)
        clock = Schedule(recipe, steps, reached.seconds)

        def judge(record: dict[str, Any]) -> bool:
            record |= _validate(average.network, validation, names)
            history = [*reached.history, record]
            emit(f"{clock} {_summary(record, names)}")
            for listener in listeners:
                listener.on_epoch(record)
            if _best(history) == len(history):
                keep(without_auxiliary_head(average.network), {"best": record, "history": history})
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
                emit=emit if arguments.process_index == 0 else lambda line: None,
                raise_if_cancelled=raise_if_cancelled,
                folder=folder,
                save_steps=save_steps,
            )
            trainer.reading = checkpoint is not None
            with (
                writing(home, lambda: trainer.writing),
                reading(home, lambda: trainer.reading),
                _memory(recipe),
            ):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            batches.close()
            if folder is not None and arguments.process_index == 0:
                clear(folder)
        return reached.history


@torch.no_grad()
def predict(
    network: nn.Module,
    images: U8,
    measured: F32 | None = None,
    batch: int = 128,
    output: str = "logits",
) -> F32:
    """Prepared images (N, C, S, S) uint8 -> logits (N, K) float32, in eval mode.

    measured: numbers (N, M) of a network that takes them; None or M = 0 for none. output: the
    field of ``Output`` that is returned, logits or groups.
    """
    network.eval()
    device = next(network.parameters()).device
    taken: list[NDArray[Any]] = (
        [images] if measured is None or not measured.size else [images, measured]
    )
    parts = []
    for start in range(0, len(images), batch):
        given = [torch.from_numpy(x[start : start + batch]).to(device) for x in taken]
        parts.append(getattr(Output(*network(*given)), output).float().cpu())
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _validate(network: nn.Module, held: HeldOut, names: Sequence[str]) -> dict[str, Any]:
    logits = predict(network, held.images, held.measured)
    guess = logits.argmax(axis=1)
    f1 = scores(confusion(held.truth, guess, len(names)))["f1"]
    return {
        "validation_macro_f1": round(float(f1.mean()), 5),
        "validation_accuracy": round(float((guess == held.truth).mean()), 5),
        "validation_nll": round(nll(logits, held.truth), 5),
        **{f"validation_f1_{name}": round(float(f1[i]), 5) for i, name in enumerate(names)},
    }


def _summary(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """An epoch as one line of text; ``metrics.csv`` has all figures."""
    each = ", ".join(f"{name} {record[f'validation_f1_{name}']:.3f}" for name in names)
    return (
        f"epoch {record['epoch']}: loss {record['loss']:.4f}, validation macro-F1"
        f" {record['validation_macro_f1']:.3f} ({each}), {record['images']:,} images at"
        f" {record['size']} px, {record['images_per_second']:.1f}/s"
    )


def _best(history: Sequence[Mapping[str, Any]]) -> int:
    """The epoch with the highest validation macro-F1; of equals, the first."""
    return int(max(history, key=lambda r: (r["validation_macro_f1"], -r["epoch"]))["epoch"])


def _finished(history: Sequence[Mapping[str, Any]], recipe: Recipe, seconds: float = 0.0) -> bool:
    if not history:
        return False
    tired = 0 < recipe.patience <= len(history) - _best(history)
    late = recipe.minutes is not None and seconds >= 60 * recipe.minutes
    return tired or late or len(history) >= recipe.epochs


@contextlib.contextmanager
def determinism(recipe: Recipe) -> Iterator[None]:
    """Restore torch's settings: Trainer switches determinism on for the whole process."""
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
    """Turn running out of memory into a SettingError with a remedy."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        plain = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if plain and "allocate memory" not in str(error):
            raise
        raise SettingError(
            f"memory ran out with {recipe.batch} images of {recipe.size} px per pass; lower"
            f" --batch, and raise --accumulate ({recipe.accumulate}) to make up for it"
        ) from error
