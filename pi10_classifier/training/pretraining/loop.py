"""Trains a learner on Hugging Face's Trainer, with the schedule and checkpoints of `pi10 train`."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from pi10_classifier.errors import SettingError
from pi10_classifier.training.checkpoint import save_weights
from pi10_classifier.training.loop.optimiser import optimiser_of, rate_schedule
from pi10_classifier.training.loop.preflight import arguments_of, last_checkpoint
from pi10_classifier.training.loop.resume_state import (
    Reached,
    clear,
    publish,
    reading,
    recall,
    writing,
)
from pi10_classifier.training.loop.schedule import Schedule
from pi10_classifier.training.pretraining.batches import PretrainingBatches
from pi10_classifier.training.pretraining.learners import Learner
from pi10_classifier.training.recipe import Recipe

Record = dict[str, Any]
COLLAPSED = 0.05  # a spread below this: all images have nearly the same embedding
_LINE_S = 30.0
_SAVE_S = 120.0  # between checkpoints within an epoch


def train(
    learner: Learner,
    batches: PretrainingBatches,
    recipe: Recipe,
    *,
    identity: Record,
    folder: Path,
    resume: bool,
    emit: Callable[[str], None],
    on_epoch: Callable[[Record], None],
    device: str = "",
    raise_if_cancelled: Callable[[], None] = lambda: None,
) -> list[Record]:
    """Train ``learner`` in place; a record for each epoch, which ``on_epoch`` gets as it ends.

    folder: for checkpoints: at the end of each epoch, and every two minutes. identity: what must be
    unchanged to resume. Records have epoch, images, loss (nats, or a cosine), spread, matched,
    rate, images_per_second, waiting (share of the time) and seconds.
    Raises SettingError if the loss is no longer a number, or for a checkpoint of other settings;
    OutputError if a checkpoint cannot be written.
    """
    arguments = arguments_of(recipe, folder, device)
    if arguments.world_size > 1:
        raise SettingError(
            f"{arguments.world_size} processes were launched, but a pretraining compares the images"
            " of one batch with each other; launch one"
        )
    checkpoint = last_checkpoint(folder, resume, arguments, emit)
    text = json.dumps(identity, sort_keys=True, default=str)
    reached = Reached(hashlib.sha256(text.encode()).hexdigest())
    if checkpoint is not None:
        reached = recall(checkpoint, reached.identity, None)
        emit(f"continuing from {checkpoint.name}, epoch {len(reached.history) + 1}")
    clock = Schedule(recipe, recipe.epochs * len(batches), reached.seconds)
    if reached.history and (clock.over or len(reached.history) >= recipe.epochs):
        # the training was over when it was cut off: the weights of its last checkpoint
        _load(learner, checkpoint)
        return reached.history
    trainer = _Trainer(
        learner.to(arguments.device), arguments, recipe, batches, clock, reached, emit, on_epoch,
        raise_if_cancelled, folder,
    )  # fmt: skip
    trainer.reading = checkpoint is not None
    try:
        with writing(folder, lambda: trainer.writing), reading(folder, lambda: trainer.reading):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        clear(folder)
    return reached.history


def _load(learner: Learner, checkpoint: Path | None) -> None:
    from safetensors.torch import load_file

    if checkpoint is not None:
        with reading(checkpoint, lambda: True):
            learner.load_state_dict(load_file(checkpoint / "model.safetensors"))


class _Trainer(Trainer):
    """Trainer whose model gives its loss itself."""

    def __init__(
        self,
        learner: Learner,
        arguments: TrainingArguments,
        recipe: Recipe,
        batches: PretrainingBatches,
        clock: Schedule,
        reached: Reached,
        emit: Callable[[str], None],
        on_epoch: Callable[[Record], None],
        raise_if_cancelled: Callable[[], None],
        folder: Path,
    ) -> None:
        self.learner, self.recipe, self.batches, self.clock = learner, recipe, batches, clock
        self.reached, self.emit, self.on_epoch = reached, emit, on_epoch
        self.raise_if_cancelled, self.folder = raise_if_cancelled, folder
        self.writing, self.reading = False, False
        self.epoch_began = time.monotonic()
        super().__init__(model=learner, args=arguments, callbacks=[_Conductor(self)])
        self.remove_callback(PrinterCallback)
        # of the epoch: loss, spread and matched, each times the images
        self.sums = torch.zeros(3)
        self.sums[0] = reached.total
        # images in the sums of spread and matched, which a checkpoint does not hold
        self.measured = 0

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self.batches.loader()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = optimiser_of(self.learner, self.recipe)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Any:
        if self.lr_scheduler is None:
            chosen: Any = optimizer or self.optimizer
            self.lr_scheduler = rate_schedule(chosen, self.clock)
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        learned = model(**inputs)
        seen = len(inputs["image"])
        told = torch.stack([value.detach().float().cpu() for value in learned])
        self.sums += told * seen
        self.reached.seen += seen
        self.measured += seen
        return (learned.loss, learned) if return_outputs else learned.loss

    def means(self) -> tuple[float, float, float]:
        """The epoch's loss, spread and matched so far; raises SettingError if no numbers."""
        seen = max(self.reached.seen, 1)
        loss = float(self.sums[0]) / seen
        if not math.isfinite(loss):
            raise SettingError(
                f"loss is {loss} in epoch {len(self.reached.history) + 1}; lower --rate, or train"
                " in float32"
            )
        spread, matched = (float(x) / max(self.measured, 1) for x in self.sums[1:])
        return loss, spread, matched

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """End the epoch: record its figures."""
        loss, spread, matched = self.means()
        seconds = max(time.monotonic() - self.epoch_began, 1e-9)
        record = {
            "epoch": len(self.reached.history) + 1,
            "images": self.reached.seen,
            "loss": round(loss, 5),
            "spread": round(spread, 4),
            **({} if math.isnan(matched) else {"matched": round(matched, 4)}),
            "rate": self.clock.rate,
            "images_per_second": round(self.reached.seen / seconds, 1),
            "waiting": round(self.waited / seconds, 4),
            "seconds": round(seconds, 1),
        }
        self.reached.history.append(record)
        self.on_epoch(record)
        told = "" if math.isnan(matched) else f", {matched:.1%} matched"
        self.emit(
            f"{self.clock} epoch {record['epoch']}: loss {loss:.4f}, spread {spread:.2f}{told},"
            f" {record['images']:,} images, {record['images_per_second']:.1f}/s"
        )
        if spread < COLLAPSED:
            self.emit(
                f"note: the spread of the embeddings is {spread:.3f}, so all images look alike to"
                " the network; lower --rate, raise --batch, or take another --method"
            )
        self.sums.zero_()
        self.reached.seen = self.measured = 0
        self.epoch_began = time.monotonic()
        self.batches.waited = self.reached.waited = 0.0
        return {}

    @property
    def waited(self) -> float:
        return self.batches.waited + self.reached.waited

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights as safetensors, the first file of a checkpoint."""
        self.means()
        self.writing = True
        if output_dir is not None:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_weights(self.learner, Path(output_dir) / "model.safetensors")

    def publish(self) -> None:
        """Complete and rename the checkpoint that Trainer has just written."""
        now = Reached(
            identity=self.reached.identity,
            history=self.reached.history,
            total=float(self.sums[0]),
            seen=self.reached.seen,
            waited=self.waited,
            epoch_seconds=time.monotonic() - self.epoch_began,
            seconds=self.clock.seconds,
        )
        publish(self.folder, self.state.global_step, now, None)
        self.writing = False


class _Conductor(TrainerCallback):
    """Our work between Trainer's steps."""

    def __init__(self, trainer: _Trainer) -> None:
        self.trainer = trainer
        self.last_line_at = self.last_saved_at = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.clock.step = state.global_step
        trainer.epoch_began = time.monotonic() - trainer.reached.epoch_seconds
        self.last_line_at = self.last_saved_at = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.reading = False  # by now a resumed training has read its random states

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.batches.begin(state.global_step // len(self.trainer.batches))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.clock.step = state.global_step
        trainer.learner.after_step(trainer.clock.progress)
        loss, spread, _ = trainer.means()
        if time.monotonic() - self.last_line_at > _LINE_S:
            seconds = max(time.monotonic() - trainer.epoch_began, 1e-9)
            trainer.emit(
                f"  {trainer.clock} loss {loss:.4f} spread {spread:.2f}"
                f" {trainer.reached.seen / seconds:.1f} images/s,"
                f" {trainer.waited / seconds:.0%} of the time waiting for data"
            )
            self.last_line_at = time.monotonic()
        control.should_training_stop |= trainer.clock.over
        ends = control.should_training_stop or state.global_step % len(trainer.batches) == 0
        if not ends and time.monotonic() - self.last_saved_at > _SAVE_S:
            control.should_save = True
        trainer.raise_if_cancelled()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_evaluate = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.publish()
        self.last_saved_at = time.monotonic()
