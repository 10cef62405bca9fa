"""What decides a training besides data and network: a recipe, per network, from TOML and flags."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.preprocess import Preprocessing

CHOICES = {
    "optimiser": ("adam", "adamw", "sgd"),
    "schedule": ("linear", "cosine"),
    "augmentation": ("paper", "pi10", "none"),
    "precision": ("float32", "bf16", "fp16"),
}
CHANNELS = (1, 3)  # grey, RGB
MARGIN = 0.22  # the widest that is left about a particle's box, of its longest side
MOST = 10_000_000  # of anything counted: more is a slip of the keyboard
# what must be above 0, and the most it may be: beyond, a training can but diverge
POSITIVE: Mapping[str, float] = {"minutes": MOST, "rate": 100, "distil_temperature": 1000}
_FROM_ZERO = (
    *("warmup_steps", "weight_decay", "clip", "mixup", "balance", "patience", "warm_size"),
    *("drawn", "class_minimum", "class_maximum", "finer"),
)
_SHARES = ("warm_share", "warmup_share", "ema", "distil", "look", "trim")
# lowest and highest value of a number, both allowed; None is no bound. The faces read them here
BOUNDS: Mapping[str, tuple[float, float | None]] = {
    "epochs": (1, None),
    "batch": (2, None),
    "accumulate": (1, None),
    "size": (32, 512),
    **dict.fromkeys(_FROM_ZERO, (0, None)),
    **dict.fromkeys(_SHARES, (0, 1)),
}


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class Recipe:
    """The paper's recipe for ViT and BEiT, unless changed. See ``recipe_for``.

    Each setting tells what it means; ``HELP`` has all of these texts.
    """

    epochs: int = _setting(30, "Passes over the training images; the learning rate ends at zero.")
    minutes: float | None = _setting(
        None,
        "If set, the training ends after this long; the learning rate follows the clock.",
    )
    size: int = _setting(224, "Side of the input, px.")
    channels: int = _setting(3, "1: grey; 3: RGB.")
    level: bool = _setting(False, "Bring the background of each image to one grey level.")
    trim: float = _setting(
        0.0,
        "Cut the image to its particle and this share of its longest side around it; 0: do not.",
    )
    warm_size: int = _setting(0, "Side of the input during the first epochs, px; 0: always size.")
    warm_share: float = _setting(0.0, "The share of the training that has warm_size.")
    batch: int = _setting(32, "Images in one forward pass of one process.")
    accumulate: int = _setting(4, "Forward passes for each optimiser step.")
    optimiser: str = _setting("adam", "adam, adamw or sgd.")
    rate: float = _setting(5e-5, "The highest learning rate.")
    schedule: str = _setting("linear", "How the learning rate falls: linear or cosine.")
    warmup_share: float = _setting(0.1, "Share of the steps over which the learning rate rises.")
    warmup_steps: int = _setting(
        0,
        "Steps over which the learning rate rises, at most a fifth; 0: as warmup_share says.",
    )
    weight_decay: float = _setting(
        0.0, "Weight decay of matrices and kernels; biases and norms have none."
    )
    clip: float = _setting(0.0, "The highest norm of the gradient; 0: no limit.")
    loss: str = _setting("las", "The loss by its name.")
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = _setting("paper", "paper, pi10 or none.")
    look: float = _setting(0.5, "With augmentation pi10: images in the Pi-10's look, a share.")
    drawn: int = _setting(0, "Drawn particles of `pi10 simulate` added to each class.")
    mixup: float = _setting(0.0, "Alpha of mixup's Beta distribution; 0: no mixup.")
    balance: float = _setting(
        0.0,
        "An image's weight is (images of its stratum)^-balance; 0: each once an epoch.",
    )
    class_minimum: int = _setting(
        0,
        "With balance 0: the fewest images of a class in an epoch; 0: no minimum.",
    )
    class_maximum: int = _setting(
        0,
        "With balance 0: the most images of a class in an epoch; 0: no maximum.",
    )
    ema: float = _setting(
        0.0, "Decay of the averaged weights that are validated and kept; 0: the last weights."
    )
    patience: int = _setting(
        0, "Epochs without a better validation macro-F1 before training ends; 0: never."
    )
    precision: str = _setting("float32", "float32, bf16 or fp16.")
    finer: float = _setting(
        0.0, "Weight of a second head's cross-entropy on the sources' own labels."
    )
    distil: float = _setting(
        0.0, "w of (1-w) loss + w T^2 KL(teacher || student), with the teacher."
    )
    distil_temperature: float = _setting(2.0, "T of that formula.")
    deterministic: bool = _setting(
        False, "The same bits every time on one machine, at some cost on a GPU."
    )
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            _check_kind(name, getattr(self, name), kind)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}"
                )
        if any(getattr(self, name) < BOUNDS[name][0] for name in ("epochs", "batch", "accumulate")):
            raise SettingError(
                f"epochs {self.epochs} and accumulate {self.accumulate} must be >= 1,"
                f" batch {self.batch} >= 2"
            )
        for name in _KINDS:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingError(f"{name} is {value}; it must be a finite number")
            if name != "seed" and isinstance(value, int | float) and value > MOST:
                raise SettingError(f"{name} is {value:,}; at most {MOST:,} are taken")
        for name, most in POSITIVE.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise SettingError(f"{name} is {value}; it must be positive, and {most:,} at most")
        for size in {self.size, self.warm_size} - {0}:
            low, high = BOUNDS["size"]
            if not low <= size <= (high or size):
                raise SettingError(f"input size {size} px is outside 32..512")
        if self.channels not in CHANNELS:
            raise SettingError(f"channels is {self.channels}; it must be 1 (grey) or 3 (RGB)")
        for name in _FROM_ZERO:
            if getattr(self, name) < 0:
                raise SettingError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} is {getattr(self, name)}; it must be in 0..1")

        if self.augmentation == "pi10" and not self.level:
            raise SettingError(
                "augmentation 'pi10' varies levelled images, and level is false, so serving would"
                " show others than training; set level=true, or augmentation to 'paper'"
            )
        if self.trim and not self.level:
            raise SettingError(
                f"trim is {self.trim}, but level is false: a particle is found on a levelled"
                " ground alone; set level=true, or trim=0"
            )
        if self.augmentation == "pi10" and self.trim > MARGIN:
            raise SettingError(
                f"trim is {self.trim}, but augmentation 'pi10' shows margins of {MARGIN} at most,"
                f" so serving would show others than training; set trim to {MARGIN} or less"
            )
        if self.drawn and self.augmentation != "pi10":
            raise SettingError(
                f"drawn is {self.drawn}, but augmentation is {self.augmentation!r}; drawn particles"
                " go with augmentation 'pi10' alone"
            )

        if self.finer and self.mixup:
            raise SettingError(
                f"finer is {self.finer} and mixup {self.mixup}; mixed images have no label of their"
                " own, set one of the two to 0"
            )
        check_limits(self.class_minimum, self.class_maximum or None)
        if self.balance and (self.class_minimum or self.class_maximum):
            raise SettingError(
                f"balance is {self.balance}, and a class has a minimum or maximum; give one of"
                " them: the limits need balance 0"
            )

    @property
    def spec(self) -> Preprocessing:
        """The input of the trained network, for serving too."""
        return Preprocessing(self.size, self.channels, self.level, trim=self.trim)

    def to_dict(self) -> dict[str, Any]:
        """All of it; but for no trim, so that trainings from before trim can be resumed."""
        told = asdict(self)
        if not self.trim:
            del told["trim"]
        return told


HELP: Mapping[str, str] = {
    entry.name: entry.metadata["help"] for entry in fields(Recipe) if "help" in entry.metadata
}
"""What each setting means, in words that the command line, the docs and the API share."""

_KINDS = {f.name: str(f.type) for f in fields(Recipe)}

# The paper gives a grid for ResNet, not its winner: its middle rate and length are taken.
_RESNET = {"epochs": 30, "rate": 1e-3, "loss": "st_ce"}
# What the embedded model was trained with: small, grey, on a CPU.
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


SMALL = "mobilenet_v2"  # what "small" stands for


def named(name_or_file: str, network: str = "", **changes: Any) -> tuple[str, Recipe]:
    """Network and recipe of ``--recipe``: a network's name, "small", or a TOML file.

    The file may name its ``network``; an explicit one comes before it. Raises SettingError.
    """
    path = Path(name_or_file)
    if path.suffix == ".toml" or path.is_file():
        chosen = network or _read(path).get("network", "")
        if not isinstance(chosen, str) or not chosen:
            raise SettingError(
                f'recipe {path} names no network; add network = "...", or give --network'
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
        base.pop("trim", None)
    return _make(base | changes)


def read_recipe(path: Path, architecture: str, **changes: Any) -> Recipe:
    """A recipe from a TOML file of ``Recipe``'s names, over the network's default.

    ``changes`` (the command line's flags) come before the file. Raises SettingError.
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
    """A copy with changes, checked like a new one."""
    return replace(recipe, **changes)


def _make(given: Mapping[str, Any]) -> Recipe:
    unknown = [name for name in given if name not in _KINDS]
    if unknown:
        raise SettingError(f"a recipe has no {unknown[0]!r}; it has {', '.join(_KINDS)}")
    return Recipe(**given)


def _check_kind(name: str, value: Any, kind: str) -> None:
    """Refuse "30" for 30, 1.5 for a count and true for a number."""
    optional = kind.endswith(" | None")
    if value is None and optional:
        return
    expected: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "bool": (bool,),
        "str": (str,),
        "Mapping[str, Any]": (Mapping,),
    }
    allowed = expected[kind.removesuffix(" | None")]
    right = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
    if not right:
        meant = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        raise SettingError(
            f"{name} is {value!r}; it must be {meant.get(allowed[-1], 'a table of options')}"
        )


def check_limits(minimum: int, maximum: int | None) -> None:
    """Refuse limits per class that contradict each other."""
    if minimum < 0 or (maximum is not None and maximum < max(1, minimum)):
        raise SettingError(
            f"per-class minimum {minimum} and maximum {maximum}: the minimum must not be below"
            f" 0, the maximum not below 1 or the minimum"
        )
