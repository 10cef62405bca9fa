"""Hugging Face's Trainer with this project's batches, losses, schedule and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from pi10_classifier.errors import SettingError
from pi10_classifier.training.checkpoint import save_weights
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.distillation import distillation
from pi10_classifier.training.loop.auxiliary_head import auxiliary_loss
from pi10_classifier.training.loop.ema import Average
from pi10_classifier.training.loop.optimiser import optimiser_of, rate_schedule
from pi10_classifier.training.loop.resume_state import Reached, publish
from pi10_classifier.training.loop.schedule import Schedule
from pi10_classifier.training.losses.base import Loss
from pi10_classifier.training.networks.base import Output
from pi10_classifier.training.recipe import Recipe

_LINE_STEPS, _LINE_S = 50, 30.0  # a progress line after so many steps or seconds
_LOSS_CHECK_STEPS = 20  # on a GPU, check after so many steps that the loss is still a number


class EpochListener(Protocol):
    """A listener to each epoch's record, e.g. a tracking run."""

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """``record``: one epoch's figures, as ``loop.train`` returns them."""


class LoopTrainer(Trainer):
    """Trainer for one recipe; ``judge`` validates and records, only on the first process."""

    def __init__(
        self,
        network: nn.Module,
        arguments: TrainingArguments,
        *,
        recipe: Recipe,
        batches: Batches,
        loss: Loss,
        clock: Schedule,
        average: Average,
        reached: Reached,
        judge: Callable[[dict[str, Any]], bool],
        emit: Callable[[str], None],
        raise_if_cancelled: Callable[[], None],
        folder: Path | None,
        save_steps: int,
    ) -> None:
        self.network, self.epoch_began = network, time.monotonic()
        self.recipe, self.batches, self.clock, self.average = recipe, batches, clock, average
        self.reached, self.judge, self.emit, self.raise_if_cancelled = (
            reached,
            judge,
            emit,
            raise_if_cancelled,
        )
        self.folder, self.save_steps = folder, save_steps
        self.writing, self.reading = False, False
        super().__init__(model=network, args=arguments, callbacks=[_Conductor(self)])
        self.remove_callback(PrinterCallback)
        self.loss = loss.to(self.args.device)
        teacher = batches.teacher.network if batches.teacher else None
        self.teacher = teacher.to(self.args.device).eval() if teacher else None
        double = torch.float32 if self.args.device.type == "mps" else torch.float64
        self.total = torch.tensor(reached.total, dtype=double, device=self.args.device)
        self.updates = math.ceil(len(batches) / recipe.accumulate)  # an epoch's optimiser steps

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        # not passed to accelerate, because ``Batches`` already gives each process its share
        return self.batches.loader()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = optimiser_of(model or self.network, self.recipe)
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
        numbers = [inputs["measured"]] if "measured" in inputs else []
        output = Output(*model(inputs["image"], *numbers))
        loss = self.loss(output, inputs["target"])
        if self.recipe.distil:
            teacher_logits = self._teacher_logits(inputs)
            gap = distillation(output.logits, teacher_logits, self.recipe.distil_temperature)
            loss = (1 - self.recipe.distil) * loss + self.recipe.distil * gap
        if self.recipe.finer:
            loss = loss + self.recipe.finer * auxiliary_loss(output.finer, inputs["finer"])
        if self.recipe.groups:
            loss = loss + self.recipe.groups * auxiliary_loss(output.groups, inputs["groups"])
        seen = len(inputs["image"])
        self.total += loss.detach().to(self.total.dtype) * seen
        self.reached.seen += seen
        return (loss, output) if return_outputs else loss

    def _teacher_logits(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.teacher is None:
            return inputs["teacher"]
        with torch.no_grad(), self.accelerator.autocast():
            return Output(*self.teacher(inputs["teacher_image"])).logits

    def finite_loss(self) -> float:
        """The epoch's sum of losses; raises SettingError if it is not finite."""
        total = self.total.item()
        if not math.isfinite(total):
            raise SettingError(
                f"loss is {total} in epoch {len(self.reached.history) + 1}; lower the learning"
                " rate, or train in float32"
            )
        return total

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """End the epoch: validate, record, and stop if the judge asks for it."""
        self.finite_loss()
        sums = torch.stack((self.total, torch.tensor(self.reached.seen).to(self.total)))
        total, seen = self.accelerator.reduce(sums, reduction="sum").tolist()
        seconds = time.monotonic() - self.epoch_began
        verdict: list[Any] = [None, None]
        if self.is_world_process_zero():
            record = {
                "epoch": len(self.reached.history) + 1,
                "size": self.batches.spec.size,
                "images": int(seen),
                "loss": round(total / seen, 5),
                "rate": self.clock.rate,
                "images_per_second": round(seen / max(seconds, 1e-9), 1),
                "waiting": round(self.waited / max(seconds, 1e-9), 4),
            }
            verdict = [self.judge(record), record]
        broadcast_object_list(verdict)
        enough, record = verdict
        record["seconds"] = round(time.monotonic() - self.epoch_began, 1)
        self.reached.history.append(record)
        self.total.zero_()
        self.reached.seen, self.epoch_began = 0, time.monotonic()
        self.batches.waited = self.reached.waited = 0.0
        self.control.should_training_stop |= bool(enough)
        return {}

    @property
    def waited(self) -> float:
        """Seconds of this epoch in which the network waited for data."""
        return self.batches.waited + self.reached.waited

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights as safetensors, the first file of a checkpoint."""
        self.finite_loss()
        self.writing = True
        if self.args.should_save and output_dir is not None:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_weights(self.network, Path(output_dir) / "model.safetensors")

    def publish(self) -> None:
        """Complete and rename the checkpoint that Trainer has just written."""
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero() and self.folder is not None:
            now = Reached(
                identity=self.reached.identity,
                history=self.reached.history,
                total=self.total.item(),
                seen=self.reached.seen,
                waited=self.waited,
                epoch_seconds=time.monotonic() - self.epoch_began,
                seconds=self.clock.seconds,
            )
            average = self.average.network if self.recipe.ema else None
            publish(self.folder, self.state.global_step, now, average)
        self.accelerator.wait_for_everyone()
        self.writing = False


class _Conductor(TrainerCallback):
    """Our work between Trainer's steps."""

    def __init__(self, trainer: LoopTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.clock.step = state.global_step
        trainer.epoch_began = time.monotonic() - trainer.reached.epoch_seconds
        self.last_line_at = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.reading = False  # by now a resumed training has read its random states

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, recipe = self.trainer, self.trainer.recipe
        epoch = state.global_step // trainer.updates
        # from the beginning of the epoch, so that a resume in its middle gets the same value
        done = trainer.clock.progress_at(epoch * trainer.updates)
        small = recipe.warm_size and done < recipe.warm_share
        trainer.batches.begin(epoch, recipe.warm_size if small else recipe.size)
        trainer.loss.progress = done

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.clock.step = state.global_step
        trainer.average.follow(trainer.network, state.global_step)
        if args.device.type == "cpu" or state.global_step % _LOSS_CHECK_STEPS == 0:
            trainer.finite_loss()
        late = time.monotonic() - self.last_line_at > _LINE_S
        if state.global_step % _LINE_STEPS == 0 or late:
            self._line()
        control.should_training_stop |= trainer.clock.over
        # at the end of an epoch, save only after validation
        ends = control.should_training_stop or state.global_step % trainer.updates == 0
        if trainer.folder and trainer.save_steps and not ends:
            control.should_save = state.global_step % trainer.save_steps == 0
        trainer.raise_if_cancelled()

    def _line(self) -> None:
        trainer = self.trainer
        seen, size = trainer.reached.seen, trainer.batches.spec.size
        seconds = max(time.monotonic() - trainer.epoch_began, 1e-9)
        trainer.emit(
            f"  {trainer.clock} {size} px loss {trainer.finite_loss() / seen:.4f}"
            f" {seen * trainer.args.world_size / seconds:.1f} images/s,"
            f" {trainer.waited / seconds:.0%} of the time waiting for data"
        )
        self.last_line_at = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_evaluate = True
        control.should_save = self.trainer.folder is not None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.publish()
