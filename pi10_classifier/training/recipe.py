"""The settings of a training: a recipe per network, changed by a TOML file and flags."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.measured_vector import NAMES
from pi10_classifier.imaging.preprocess import MAX_GROUND_CLIP, Preprocessing
from pi10_classifier.simulate.linescan import EFFECTS
from pi10_classifier.training.recipe_checks import (
    check_drawn,
    check_kind,
    check_levelled,
    check_limits,
    measured_names,
)

CHOICES = {
    "optimiser": ("adam", "adamw", "sgd"),
    "schedule": ("linear", "cosine"),
    "augmentation": ("paper", "pi10", "none"),
    "precision": ("float32", "bf16", "fp16"),
    "look_kind": ("generic", "linescan"),
    "drawn_kind": ("generic", "linescan"),
}
CHANNELS = (1, 3)  # grey, RGB
MARGIN = 0.22  # widest margin around a particle's box, as a share of its longest side
MOST = 10_000_000  # upper limit of all counts; more is a typing error
# settings that must be above 0, and their upper limits, beyond which a training would diverge
POSITIVE: Mapping[str, float] = {"minutes": MOST, "rate": 100, "distil_temperature": 1000}
_FROM_ZERO = (
    *("warmup_steps", "weight_decay", "clip", "mixup", "balance", "patience", "warm_size"),
    *("drawn", "class_minimum", "class_maximum", "finer", "groups"),
)
_SHARES = ("warm_share", "warmup_share", "ema", "distil", "look", "trim", "measured_missing")
# lowest and highest allowed value; None is no limit. Command line and API use them too
BOUNDS: Mapping[str, tuple[float, float | None]] = {
    "epochs": (1, None),
    "batch": (2, None),
    "accumulate": (1, None),
    "size": (32, 512),
    "ground_clip": (0, MAX_GROUND_CLIP),
    **dict.fromkeys(_FROM_ZERO, (0, None)),
    **dict.fromkeys(_SHARES, (0, 1)),
}


# settings that older trainings do not know, and what those trainings did
_LATER: Mapping[str, Any] = {
    "trim": 0.0,
    "look_kind": "generic",
    "look_without": "",
    "drawn_kind": "generic",
    "ground_clip": 0,
    "groups": 0.0,
    "measured": "",
    "measured_missing": 0.1,
}


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class Recipe:
    """The paper's recipe for ViT and BEiT, unless changed. See ``recipe_for``.

    Each setting has a text that explains it; ``HELP`` has all of these texts.
    """

    epochs: int = _setting(30, "Number of passes over the training images.")
    minutes: float | None = _setting(
        None,
        "Length of the training in minutes, in place of epochs; the learning rate follows the"
        " clock.",
    )
    size: int = _setting(224, "Side of the network's input, px.")
    channels: int = _setting(3, "Channels of the input: 1 for grey, 3 for RGB.")
    level: bool = _setting(
        False, "Whether to bring the background of each image to one grey level."
    )
    trim: float = _setting(
        0.0,
        "Margin around the particle that images are cut to, as a share of its longest side; 0: no"
        " cut.",
    )
    ground_clip: int = _setting(
        0, "Grey levels next to the background that become white in the prepared image; 0: none."
    )
    warm_size: int = _setting(
        0, "Side of the input at the start of the training, px; 0: size from the start."
    )
    warm_share: float = _setting(0.0, "Share of the training that uses warm_size, 0 to 1.")
    batch: int = _setting(32, "Images per forward pass of one process.")
    accumulate: int = _setting(4, "Forward passes per optimiser step.")
    optimiser: str = _setting("adam", "Optimiser: adam, adamw or sgd.")
    rate: float = _setting(5e-5, "Highest learning rate.")
    schedule: str = _setting("linear", "Decay of the learning rate: linear or cosine.")
    warmup_share: float = _setting(
        0.1, "Share of the steps in which the learning rate rises, 0 to 1."
    )
    warmup_steps: int = _setting(
        0,
        "Steps in which the learning rate rises, at most a fifth of all; 0: use warmup_share.",
    )
    weight_decay: float = _setting(
        0.0, "Weight decay of matrices and kernels; biases and norms are not decayed."
    )
    clip: float = _setting(0.0, "Largest norm of the gradient; 0: no limit.")
    loss: str = _setting("las", "Name of the loss.")
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = _setting("paper", "Augmentation: paper, pi10 or none.")
    look: float = _setting(
        0.5,
        "With augmentation pi10: share of the images that are made to look like the Pi-10's, 0 to"
        " 1.",
    )
    drawn: int = _setting(
        0, "Synthetic particles, as `pi10 simulate` draws them, to add to each class."
    )
    look_kind: str = _setting(
        "generic",
        "That look: generic, drawn widely, or linescan, as measured on genuine Pi-10 images.",
    )
    look_without: str = _setting(
        "", f"Effects to leave out of the look linescan, comma-separated: {', '.join(EFFECTS)}."
    )
    drawn_kind: str = _setting(
        "generic",
        "The synthetic particles: generic, as `pi10 simulate` draws them, or linescan, after the"
        " labels and images of the Pi-10, each time on another ground.",
    )
    mixup: float = _setting(0.0, "Alpha of the Beta distribution of mixup; 0: no mixup.")
    balance: float = _setting(
        0.0,
        "Images are drawn with the weight (images of their stratum)^-balance; 0: each once per"
        " epoch.",
    )
    class_minimum: int = _setting(
        0,
        "With balance 0: fewest images of a class per epoch; 0: no minimum.",
    )
    class_maximum: int = _setting(
        0,
        "With balance 0: most images of a class per epoch; 0: no maximum.",
    )
    ema: float = _setting(
        0.0,
        "Decay of the moving average of the weights, which is validated and kept; 0: no average.",
    )
    patience: int = _setting(
        0, "Epochs without a better validation macro-F1 after which the training ends; 0: never."
    )
    precision: str = _setting("float32", "Precision of the computation: float32, bf16 or fp16.")
    finer: float = _setting(
        0.0,
        "Weight of an auxiliary head, trained with cross-entropy on the sources' own labels; 0:"
        " none.",
    )
    groups: float = _setting(
        0.0,
        "Weight of the cross-entropy on the label map's groups, whose sums are the classes; 0: the"
        " network predicts the classes alone.",
    )
    measured: str = _setting(
        "", f"Numbers that the network takes beside the image: all, or some of {', '.join(NAMES)}."
    )
    measured_missing: float = _setting(
        0.1, "Share of the images, and of the numbers of the others, that training hides, 0 to 1."
    )
    distil: float = _setting(
        0.0, "Weight w of the teacher in (1-w) loss + w T^2 KL(teacher || student), 0 to 1."
    )
    distil_temperature: float = _setting(2.0, "Temperature T in the formula of distil.")
    deterministic: bool = _setting(
        False, "Make trainings on one machine repeatable bit by bit; slower on a GPU."
    )
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            check_kind(name, getattr(self, name), kind)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}"
                )
        if any(getattr(self, name) < BOUNDS[name][0] for name in ("epochs", "batch", "accumulate")):
            raise SettingError(
                f"epochs is {self.epochs}, accumulate {self.accumulate} and batch"
                f" {self.batch}; epochs and accumulate must be >= 1, batch >= 2"
            )
        for name in _KINDS:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingError(f"{name} is {value}; it must be a finite number")
            if name != "seed" and isinstance(value, int | float) and value > MOST:
                raise SettingError(f"{name} is {value:,}; it must be at most {MOST:,}")
        for name, most in POSITIVE.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise SettingError(f"{name} is {value}; it must be above 0 and at most {most:,}")
        for size in {self.size, self.warm_size} - {0}:
            low, high = BOUNDS["size"]
            if not low <= size <= (high or size):
                raise SettingError(
                    f"input size {size} px is outside 32..512; give a size in that range"
                )
        if self.channels not in CHANNELS:
            raise SettingError(f"channels is {self.channels}; it must be 1 (grey) or 3 (RGB)")
        for name in _FROM_ZERO:
            if getattr(self, name) < 0:
                raise SettingError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} is {getattr(self, name)}; it must be in 0..1")
        check_levelled(self, MARGIN)
        check_drawn(self)
        measured_names(self.measured)
        for name in ("finer", "groups"):
            if getattr(self, name) and self.mixup:
                raise SettingError(
                    f"{name} is {getattr(self, name)} and mixup {self.mixup}, but mixed images have"
                    " no label of their own; set one of the two to 0"
                )
        check_limits(self.class_minimum, self.class_maximum or None)
        if self.balance and (self.class_minimum or self.class_maximum):
            raise SettingError(
                f"balance is {self.balance}, but class_minimum or class_maximum is set; give"
                " only one, as the limits need balance 0"
            )

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the measured numbers that the network takes; empty for the image alone."""
        return measured_names(self.measured)

    @property
    def spec(self) -> Preprocessing:
        """The input of the trained network, for serving too."""
        return Preprocessing(
            self.size, self.channels, self.level, trim=self.trim, ground_clip=self.ground_clip
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings but later ones at their default, so that older trainings can be resumed."""
        settings = asdict(self)
        for name, default in _LATER.items():
            if settings[name] == default:
                del settings[name]
        return settings


HELP: Mapping[str, str] = {
    entry.name: entry.metadata["help"] for entry in fields(Recipe) if "help" in entry.metadata
}
"""The meaning of each setting; command line, docs and API use these texts."""

_KINDS = {f.name: str(f.type) for f in fields(Recipe)}

# Of the paper's grid for ResNet: the rate and length of the row in its table.
_RESNET = {"epochs": 30, "rate": 1e-4, "loss": "st_ce"}
# The recipe of the embedded model: small, grey, trained on a CPU.
_MOBILE = {
    "epochs": 16,
    "size": 96,
    "channels": 1,
    "level": True,
    "trim": 0.2,
    "warm_size": 64,
    "warm_share": 0.4,
    "batch": 64,
    "accumulate": 1,
    "optimiser": "adamw",
    "rate": 1e-3,
    "schedule": "cosine",
    "warmup_share": 0.0,
    "warmup_steps": 150,
    "weight_decay": 0.02,
    "loss": "st_ce",
    "loss_options": {"smoothing": 0.05},
    "augmentation": "pi10",
    "balance": 0.5,
    "ema": 0.997,
}
_DEFAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("resnet", _RESNET),
    ("mobilenet", _MOBILE),
    ("efficientnet", _MOBILE),
)


SMALL = "mobilenet_v2"  # the network that "small" means


def named(name_or_file: str, network: str = "", **changes: Any) -> tuple[str, Recipe]:
    """The network and recipe of ``--recipe``: a network's name, "small", or a TOML file.

    The file may name its ``network``; the argument overrides it. Raises SettingError.
    """
    path = Path(name_or_file)
    if path.suffix == ".toml" or path.is_file():
        chosen = network or _read(path).get("network", "")
        if not isinstance(chosen, str) or not chosen:
            raise SettingError(
                f"recipe {path} names no network; add a line 'network = …', or give --network"
            )
        return chosen, read_recipe(path, chosen, **changes)
    base = SMALL if name_or_file == "small" else name_or_file
    return network or base, recipe_for(base, **changes)


def recipe_for(architecture: str, **changes: Any) -> Recipe:
    """The default recipe of a network, with changes. Options of another loss are dropped."""
    base: dict[str, Any] = {}
    for start, given in _DEFAULTS:
        if architecture.startswith(start):
            base = dict(given)
    if "loss" in changes and "loss_options" not in changes:
        base.pop("loss_options", None)
    size = changes.get("size")
    if isinstance(size, int) and size <= base.get("warm_size", 0):
        base["warm_size"] = 0  # a small input needs no smaller one first
    if changes.get("level") is False:
        for name in ("trim", "ground_clip"):
            base.pop(name, None)
    return _make(base | changes)


def read_recipe(path: Path, architecture: str, **changes: Any) -> Recipe:
    """A recipe from a TOML file with names of ``Recipe``, based on the network's default.

    ``changes`` (the command line's options) override the file. Raises SettingError.
    """
    given = _read(path)
    given.pop("network", None)
    if "loss" in changes and changes["loss"] != given.get("loss"):
        given.pop("loss_options", None)
    try:
        return recipe_for(architecture, **(given | changes))
    except SettingError as error:
        raise SettingError(f"recipe {path}: {error.message}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"recipe {path} is not TOML: {error}") from error


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """Copy a recipe with changes, and check it."""
    return replace(recipe, **changes)


def _make(given: Mapping[str, Any]) -> Recipe:
    unknown = [name for name in given if name not in _KINDS]
    if unknown:
        raise SettingError(f"a recipe has no {unknown[0]!r}; it has {', '.join(_KINDS)}")
    return Recipe(**given)
