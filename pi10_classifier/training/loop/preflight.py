"""Runs the checks before a training's first step, and finds the checkpoint to continue from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import TrainingArguments

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import default_jobs
from pi10_classifier.training.data.in_memory import HeldOut, TrainingSet
from pi10_classifier.training.data.worker_processes import can_fork
from pi10_classifier.training.loop.auxiliary_head import without_auxiliary_head
from pi10_classifier.training.loop.resume_state import PARTIAL, clear, latest
from pi10_classifier.training.losses.base import Loss
from pi10_classifier.training.losses.ldam import LDAM
from pi10_classifier.training.losses.registry import LOSSES, build_loss
from pi10_classifier.training.networks.base import CosineHead
from pi10_classifier.training.networks.grouped import GroupedNetwork
from pi10_classifier.training.recipe import Recipe


def class_numbers(training: TrainingSet, validation: HeldOut) -> tuple[str, ...]:
    """Numbers as names for classes without names."""
    both = [int(truth.max()) for truth in (training.truth, validation.truth) if len(truth)]
    return tuple(str(i) for i in range(max(both, default=0) + 1))


def checked_loss(
    network: nn.Module,
    training: TrainingSet,
    validation: HeldOut,
    recipe: Recipe,
    names: Sequence[str],
) -> Loss:
    """Build the loss after checking that data, recipe and network fit together.

    Raises SettingError if they do not, if a split is empty, or if a class has no image.
    """
    for split, truth in (("training", training.truth), ("validation", validation.truth)):
        if not len(truth):
            raise SettingError(f"the {split} split is empty; give more images, or another split")
        counts = np.bincount(truth, minlength=len(names))
        for name, count in zip(names, counts.tolist(), strict=True):
            if not count:
                raise SettingError(
                    f"class {name!r} has no {split} image; add some (at least about ten per"
                    " class), or leave the class out with the label map"
                )
    counts = np.bincount(training.truth, minlength=len(names))
    loss = build_loss(recipe.loss, counts.tolist(), **recipe.loss_options)
    heads = [module for module in network.modules() if isinstance(module, CosineHead)]
    if LOSSES[recipe.loss].needs_cosine and not heads:
        raise SettingError(f"loss {recipe.loss} needs a network built with head='cosine'")
    if isinstance(loss, LDAM) and heads[0].scale != loss.scale:
        raise SettingError(
            f"LDAM's scale is {loss.scale}, but the network's is {heads[0].scale}; leave the"
            " scale out"
        )
    if LOSSES[recipe.loss].needs_attention and not getattr(network, "attention", False):
        raise SettingError(
            f"loss {recipe.loss} needs the attention of a vit or beit, built with attention=True"
        )
    if bool(recipe.groups) != isinstance(network, GroupedNetwork):
        raise SettingError(
            f"groups is {recipe.groups}, but the network predicts"
            f" {'the classes alone' if recipe.groups else 'groups'}; give both a weight above 0"
            " and groups, or neither"
        )
    if recipe.mixup and not loss.soft:
        raise SettingError(f"loss {recipe.loss} is not defined for mixed images; set mixup to 0")
    return loss


def arguments_of(recipe: Recipe, home: Path, device: str) -> TrainingArguments:
    """The recipe as Trainer's arguments. device: "cpu" ignores a GPU."""
    if device not in ("", "cpu"):
        raise SettingError(
            f"device is {device!r}; it must be 'cpu', or empty for the best device available"
        )
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
            # our own callback and judge do these
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
        raise SettingError(f"this machine cannot train with these settings: {error}") from error
    arguments._n_gpu = min(1, arguments.n_gpu)  # several only with accelerate, one process each
    if recipe.minutes and world > 1:
        raise SettingError(
            "minutes is set, but several processes cannot keep the same clock; set epochs only"
        )
    return arguments


def last_checkpoint(
    folder: Path | None, resume: bool, arguments: TrainingArguments, emit: Callable[[str], None]
) -> Path | None:
    """The checkpoint to continue from, if any."""
    if folder is None:
        if resume:
            raise SettingError("there is no folder to resume from")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.process_index == 0:
        clear(folder)
    checkpoint = latest(folder)
    if checkpoint and not resume:
        raise SettingError(
            f"{folder} holds a training ({checkpoint.name}); continue with --resume, or give"
            " another folder"
        )
    if resume and not checkpoint:
        emit(f"{folder} holds no checkpoint yet; starting from the beginning")
    return checkpoint


def identity_of(
    network: nn.Module, training: TrainingSet, recipe: Recipe, names: Sequence[str], world: int
) -> str:
    """What must be unchanged to resume a training; of the images, their classes and order."""
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    truth = hashlib.sha256(training.truth.astype(np.int64).tobytes()).hexdigest()
    parts: list[Any] = [recipe.to_dict(), list(names), truth, shapes, world]
    bare = without_auxiliary_head(network)
    if isinstance(bare, GroupedNetwork):
        own = hashlib.sha256(training.groups.astype(np.int64).tobytes()).hexdigest()
        parts += [bare.table.to_dict(), own]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def loaders_of(arguments: TrainingArguments) -> int:
    """Number of loaders: one on a CPU, whose cores the network needs; more with a GPU."""
    if arguments.device.type == "cpu":
        return 1
    shared = default_jobs() // int(arguments.world_size)
    return max(1, shared - 1)


def use_processes(arguments: TrainingArguments) -> bool:
    """Whether processes prepare images: with a GPU, one Python process is too slow."""
    return arguments.device.type == "cuda" and can_fork()
