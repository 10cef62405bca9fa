"""The core of ``pi10 pretrain``: draw particles, train without labels, package."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pi10_classifier.datasets.records import left_out_csv
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.training import output_folder as out
from pi10_classifier.training.checkpoint import save_checkpoint
from pi10_classifier.training.data.loading import cached_image
from pi10_classifier.training.loop.loop import determinism
from pi10_classifier.training.loop.memory import check_disk, free_memory
from pi10_classifier.training.networks.base import Network
from pi10_classifier.training.networks.from_package import settle
from pi10_classifier.training.pretraining.batches import PretrainingBatches
from pi10_classifier.training.pretraining.learners import learner, method
from pi10_classifier.training.pretraining.loop import Record, train
from pi10_classifier.training.pretraining.package import CLUSTER_NAMES, FIELD, write
from pi10_classifier.training.pretraining.particles import Drawn, draw
from pi10_classifier.training.pretraining.plan import LINES, PretrainingPlan, config_of
from pi10_classifier.training.pretraining.profile_table import read_table
from pi10_classifier.training.pretraining.profiles import typical_values
from pi10_classifier.training.reporter import NullReporter, Reporter, reported

Emit = Callable[[str], None]

_SETTLING = 16  # batches
_LINE_S = 30.0


def draw_particles(
    inputs: Sequence[str],
    plan: PretrainingPlan,
    *,
    emit: Emit = print,
    raise_if_cancelled: Callable[[], None] = lambda: None,
) -> Drawn:
    """Draw the plan's particles from the inputs, with their profiles."""
    last_line_at = time.monotonic()

    def progress(done: int) -> None:
        nonlocal last_line_at
        raise_if_cancelled()
        if time.monotonic() - last_line_at > _LINE_S:
            emit(f"  {done:,} images read")
            last_line_at = time.monotonic()

    recipe = plan.recipe
    table = read_table(Path(plan.profiles)) if plan.profiles not in ("", LINES) else None
    return draw(
        inputs,
        partial(cached_image, recipe=recipe, side=recipe.size),
        most=plan.images,
        seed=recipe.seed,
        lines=plan.profiles == LINES,
        table=table,
        free=free_memory(torch.device("cpu")),
        progress=progress,
    )


def pretrain(
    drawn: Drawn,
    plan: PretrainingPlan,
    *,
    resume: bool = False,
    emit: Emit = print,
    raise_if_cancelled: Callable[[], None] = lambda: None,
    reporter: Reporter | None = None,
) -> Path:
    """Pretrain a network on the drawn particles; return the folder, ``plan.out``.

    It holds config.json, particles.csv, left_out.csv, metrics.csv (one line per epoch),
    checkpoint/ (for `pi10 train --init`), learner/ (with what the network was trained with) and
    package/ (for `pi10 adapt`), which is written last; until then also resume/.
    Raises SettingError, ModelError or OutputError; KeyboardInterrupt from ``raise_if_cancelled``.
    """
    active, folder = reporter or NullReporter(), plan.out
    with out.locked(folder):
        config = config_of(plan, drawn)
        out.begin(folder, config, resume)
        if (folder / out.PACKAGE / "model.json").is_file():
            emit(f"{folder} is done")
            active.on_done_before(folder, config)
            return folder
        write_atomically(folder / out.PARTICLES, drawn.csv().encode("utf-8"))
        write_atomically(folder / out.LEFT_OUT, left_out_csv(drawn.left_out).encode("utf-8"))
        with reported(active, folder, config):
            _run(drawn, plan, config, resume, emit, raise_if_cancelled, active)
        shutil.rmtree(folder / out.RESUME, ignore_errors=True)
    return folder


def _run(
    drawn: Drawn,
    plan: PretrainingPlan,
    config: dict[str, Any],
    resume: bool,
    emit: Emit,
    raise_if_cancelled: Callable[[], None],
    reporter: Reporter,
) -> None:
    recipe, folder, identity = plan.recipe, plan.out, config["identity"]
    torch.manual_seed(recipe.seed)
    profiles = [p.profile for p in drawn.particles if p.profile is not None]
    typical = typical_values(profiles) if profiles else None
    batches = PretrainingBatches(drawn.particles, recipe, method(plan.method).kind.keys, typical)
    try:
        network = plan.training.build(CLUSTER_NAMES)
        if not isinstance(network, Network):
            raise TypeError("a pretraining builds no network of groups")
        if plan.training.package:
            settle(network, (batches[b]["image"] for b in range(min(_SETTLING, len(batches)))))
        learning = learner(plan.method, network, recipe.size, plan.encoder, len(drawn.channels))
        check_disk(learning, folder, average=False)

        def note(record: Record) -> None:
            out.add_metrics(folder, record)
            numbers = {k: float(v) for k, v in record.items()}
            reporter.on_epoch(numbers, int(numbers.pop("epoch")))

        with determinism(recipe):  # Trainer switches it on for the whole process
            history = train(
                learning,
                batches,
                recipe,
                identity=identity,
                folder=folder / out.RESUME,
                resume=resume and (folder / out.RESUME).is_dir(),
                emit=emit,
                on_epoch=note,
                device=plan.device,
                raise_if_cancelled=raise_if_cancelled,
            )
    finally:
        batches.close()
    out.write_metrics(folder, history)
    text = json.dumps(identity, sort_keys=True, default=str)
    record = {
        **identity,
        "images": config["images"],
        "minutes": round(sum(r["seconds"] for r in history) / 60, 1),
        "history": history,
        "run_id": hashlib.sha256(text.encode()).hexdigest()[:16],
        "command": plan.command,
        "named": config["named"],
        "software": config["software"],
    }
    if typical is not None:
        record["typical_values"] = typical.tolist()
    learning = learning.cpu()
    save_checkpoint(folder / out.LEARNER, learning, {FIELD: record})
    name = plan.name or f"{plan.training.network}-pretrained"
    fields = {"name": name, "architecture": plan.training.network, FIELD: record}
    write(
        learning.kept, drawn.particles, recipe, fields,
        folder / out.CHECKPOINT, folder / out.PACKAGE,
    )  # fmt: skip
    emit(f"written: {folder / out.CHECKPOINT} and {folder / out.PACKAGE}")
