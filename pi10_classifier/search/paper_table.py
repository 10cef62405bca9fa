"""``pi10 table1``: the paper's table of losses and networks, each trained with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.search.spaces import LOSSES, fits
from pi10_classifier.training import run as runs
from pi10_classifier.training.data.loading import Examples
from pi10_classifier.training.plan import TrainingPlan
from pi10_classifier.training.recipe import recipe_for
from pi10_classifier.training.reporter import Reporter

ReporterOf = Callable[[Path], Reporter | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table: a network, a loss, and the folder of its trainings."""

    network: str
    loss: str
    folder: Path


def entries(
    networks: Sequence[str], losses: Sequence[str], out: Path
) -> tuple[list[Entry], list[str]]:
    """The rows, and why combinations are left out. Raises SettingError for unknown losses."""
    for loss in losses:
        if loss not in LOSSES:
            raise SettingError(f"loss {loss!r} is unknown; known: {', '.join(LOSSES)}")
    rows, notes = [], []
    for network in dict.fromkeys(networks):
        for loss in dict.fromkeys(losses):
            if fits(network, loss):
                rows.append(Entry(network, loss, out / f"{network}-{loss}"))
            else:
                notes.append(f"{network} with {loss} is left out: {network} has no attention")
    return rows, notes


def plans_of(
    rows: Sequence[Entry], base: Mapping[str, Any], seeds: Sequence[int], **plan: Any
) -> list[TrainingPlan]:
    """The training of each row: its network's recipe with ``base`` and its loss.

    Raises SettingError before anything is trained, where a row cannot be.
    """
    return [
        TrainingPlan(
            row.network,
            recipe_for(row.network, **{**base, "loss": row.loss}),
            row.folder,
            tuple(seeds),
            **plan,
        )
        for row in rows
    ]


def train_table(
    examples: Examples,
    plans: Sequence[TrainingPlan],
    *,
    emit: Callable[[str], None] = print,
    raise_if_cancelled: Callable[[], None] = lambda: None,
    reporter_of: ReporterOf = lambda folder: None,
) -> list[Path]:
    """Train and test all rows; what is done is not done again. Returns the folders of the seeds.

    A row whose training was cut goes on from its last epoch. Raises SettingError before the first
    training where a network cannot be trained, as without its weights.
    """
    done = []
    for plan in {plan.network: plan for plan in plans if not runs.is_done(plan)}.values():
        runs.check(examples, plan, lambda note: None)
    for place, plan in enumerate(plans):
        emit(f"row {place + 1} of {len(plans)}: {plan.network} with {plan.recipe.loss}")
        done += runs.train_seeds(
            examples,
            plan,
            resume=True,
            emit=emit,
            raise_if_cancelled=raise_if_cancelled,
            reporter=reporter_of(plan.out),
        )
    return done
