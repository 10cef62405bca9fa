"""The plan of a pretraining: its settings, checked, and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pi10_classifier
from pi10_classifier.errors import SettingError
from pi10_classifier.training.plan import TrainingPlan, named, origin_of
from pi10_classifier.training.pretraining.learners import METHODS, method
from pi10_classifier.training.pretraining.particles import LEAST, Drawn
from pi10_classifier.training.pretraining.profile_encoders import ENCODERS
from pi10_classifier.training.recipe import SMALL, Recipe, recipe_for

LINES = "lines"  # in place of a table: the extinction of each scanned line
_SOFTWARE = ("torch", "transformers", "accelerate", "onnxruntime", "numpy")

# of a recipe, what needs labels, and what the methods fix
_NOT_HERE = frozenset(
    {
        *("loss", "loss_options", "mixup", "balance", "class_minimum", "class_maximum", "patience"),
        *("finer", "groups", "distil", "distil_temperature", "drawn", "drawn_kind", "ema"),
        *("warm_size", "warm_share", "accumulate", "optimiser", "seed"),
    }
)
# in place of the network's own recipe
_BASE: Mapping[str, Any] = {
    "epochs": 100,
    "batch": 128,
    "accumulate": 1,
    "optimiser": "adamw",
    "rate": 5e-4,
    "schedule": "cosine",
    # steps, as a share of many epochs may be longer than a limit in minutes
    "warmup_steps": 50,
    "weight_decay": 0.04,
    "loss": "st_ce",
    "balance": 0.0,
    "ema": 0.0,
    "warm_size": 0,
    "warm_share": 0.0,
}


def network_named(name: str) -> str:
    """The network that a name means; "small" is that of the recipe with this name."""
    return SMALL if name == "small" else name


def pretraining_recipe(network: str, seed: int = 0, **changes: Any) -> Recipe:
    """The settings of a network's pretraining, with changes. Raises SettingError."""
    for name in changes:
        if name in _NOT_HERE:
            raise SettingError(f"a pretraining has no setting {name!r}; leave it out")
    return recipe_for(network, **{**_BASE, "seed": seed, **changes})


@dataclass(frozen=True, slots=True)
class PretrainingPlan:
    """The settings of a pretraining besides its images.

    method: a name of ``METHODS``. profiles: "" for none, "lines", or a Parquet table. encoder: of
    the profiles. images: most that are drawn. init: as for `pi10 train`. command: for the record.
    """

    network: str
    recipe: Recipe
    out: Path
    method: str = "simclr"
    profiles: str = ""
    encoder: str = "cnn"
    images: int = 20_000
    init: str = "pretrained"
    name: str = ""
    device: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        needed = method(self.method).profiles
        if needed and not self.profiles:
            raise SettingError(
                f"method {self.method} needs profiles; give --profiles lines for a line-scan"
                " camera, or a Parquet table of them"
            )
        if self.profiles and not needed:
            others = ", ".join(name for name, m in METHODS.items() if m.profiles)
            raise SettingError(
                f"profiles are given, but method {self.method} sees images alone; take --method"
                f" {others}, or leave --profiles out"
            )
        if self.profiles not in ("", LINES) and not Path(self.profiles).is_file():
            raise SettingError(
                f"profiles {self.profiles!r} is no file; give a Parquet table, or {LINES!r} for the"
                " extinction of each scanned line"
            )
        if self.encoder not in ENCODERS:
            raise SettingError(
                f"unknown profile encoder {self.encoder!r}; it must be one of {', '.join(ENCODERS)}"
            )
        if self.images < LEAST:
            raise SettingError(f"--images is {self.images}; it must be at least {LEAST}")
        self.training  # noqa: B018  checks network and initial weights

    @property
    def training(self) -> TrainingPlan:
        """Network and initial weights, as `pi10 train` reads them."""
        return TrainingPlan(
            network=self.network,
            recipe=self.recipe,
            out=self.out,
            init=self.init,
            device=self.device,
        )


def config_of(plan: PretrainingPlan, drawn: Drawn) -> dict[str, Any]:
    """The record of a pretraining; "identity" is what must be unchanged to resume it."""
    recipe = {k: v for k, v in plan.recipe.to_dict().items() if k not in _NOT_HERE - {"seed"}}
    profiles = (
        {
            "profiles": LINES if plan.profiles == LINES else Path(plan.profiles).name,
            "encoder": plan.encoder,
            "channels": list(drawn.channels),
        }
        if plan.profiles
        else {}
    )
    return {
        "format": 1,
        "identity": {
            "method": plan.method,
            "network": plan.training.network,
            **profiles,
            "particles_sha256": drawn.sha256,
            "initial_weights": origin_of(plan.training),
            "recipe": recipe,
        },
        "images": {
            "found": drawn.images,
            "used": len(drawn.particles),
            "left_out": len(drawn.left_out),
        },
        "command": plan.command,
        "named": named(plan.training),
        "software": {
            "pi10-classifier": pi10_classifier.__version__,
            **{name: metadata.version(name) for name in _SOFTWARE},
        },
    }
