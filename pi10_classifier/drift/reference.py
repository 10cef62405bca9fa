"""The reference of a good run: its quantities by predicted class, and how much its minutes differ.

It is JSON: the field ``reference`` of a package's ``model.json``, or a file of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pi10_classifier.drift.quantities import FIELD, MIX, MODEL, QUANTITIES, subject_of
from pi10_classifier.errors import SettingError

FORMAT = 1
CELLS = 10  # of a histogram; its edges are the reference's deciles
MOST_BYTES = 5_000_000

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """One quantity's histogram in one class.

    edges: increasing, at most ``CELLS`` - 1; a value equal to an edge is above it. shares: of the
    reference's images in each cell, one more than the edges; they sum to 1. ridits: the share of
    the reference below each cell plus half of its own (cells,), 0..1. variance: of one image's
    ridit.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    ridits: F64 = field(init=False, compare=False)
    variance: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        shares = np.array(self.shares)
        ridits = np.cumsum(shares) - shares / 2
        object.__setattr__(self, "ridits", ridits)
        object.__setattr__(self, "variance", float(shares @ ridits**2) - 0.25)


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity's shift varies from minute to minute of the reference, beyond chance.

    mean: of the minutes' shifts. sd: between minutes, 0 where chance explains all of it.
    """

    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference. digest: SHA-256 of its content.

    mix: class -> share of the images with a particle, in the model's order. mix_between: mean PSI
    of the minutes' mix beyond chance. cells: class -> quantity -> histogram, for the classes with
    enough images. between: by quantity.
    """

    model_sha256: str
    um_per_px: float
    images: int
    minutes: int
    mix: Mapping[str, float]
    mix_between: float
    cells: Mapping[str, Mapping[str, Cells]]
    between: Mapping[str, Spread]
    digest: str

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.mix)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities of images that it knows, in the order of ``QUANTITIES``."""
        return tuple(name for name in QUANTITIES if name in self.between)

    @property
    def names(self) -> tuple[str, ...]:
        """What is watched: the quantities of images, and the mix of classes."""
        return (*self.quantities, MIX)

    def of_other_graph(self) -> Reference:
        """Without the model's answers: another precision's scores differ without any drift."""
        kept = {name: spread for name, spread in self.between.items() if subject_of(name) != MODEL}
        return replace(self, between=kept)

    @classmethod
    def from_dict(cls, fields: Any) -> Reference | None:
        """From its JSON object; None stays None. Raises KeyError, TypeError or ValueError."""
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise ValueError(f"reference: {str(fields)[:80]!r} is no object")
        if fields["format"] != FORMAT:
            raise ValueError(
                f"reference: format is {fields['format']!r}; this program reads {FORMAT}"
            )
        mix = {str(label): _number(share, 0, 1) for label, share in fields["mix"].items()}
        if len(mix) < 2 or not math.isclose(sum(mix.values()), 1, abs_tol=1e-3):
            raise ValueError(f"reference: the shares of mix sum to {sum(mix.values()):g}, not 1")
        cells: dict[str, dict[str, Cells]] = {}
        between = {}
        for name, told in fields["quantities"].items():
            if name not in QUANTITIES:
                raise ValueError(f"reference: {name!r} is no quantity that this program knows")
            between[name] = Spread(_number(told["mean"], -1, 1), _number(told["between_sd"], 0, 1))
            for label, histogram in told["classes"].items():
                if label not in mix:
                    raise ValueError(f"reference: {label!r} is not in mix")
                cells.setdefault(label, {})[name] = _cells(name, histogram)
        return cls(
            model_sha256=str(fields["model_sha256"]),
            um_per_px=_number(fields["um_per_px"], 0, 1e6),
            images=int(_number(fields["images"], 1)),
            minutes=int(_number(fields["minutes"], 1)),
            mix=mix,
            mix_between=_number(fields["mix_between"], 0),
            cells=cells,
            between=between,
            digest=hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest(),
        )


def _cells(name: str, histogram: Mapping[str, Any]) -> Cells:
    edges = tuple(_number(edge) for edge in histogram["edges"])
    shares = tuple(_number(share, 0, 1) for share in histogram["shares"])
    if len(shares) != len(edges) + 1 or len(shares) > CELLS:
        raise ValueError(
            f"reference: {name} has {len(edges)} edges and {len(shares)} shares; there must be one"
            f" share more, and at most {CELLS}"
        )
    if list(edges) != sorted(set(edges)) or not math.isclose(sum(shares), 1, abs_tol=1e-3):
        raise ValueError(f"reference: {name}: edges must increase, and shares sum to 1")
    return Cells(edges, shares)


def _number(value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"reference: {str(value)[:80]!r} is no finite number")
    if not low <= value <= high:
        raise ValueError(f"reference: {value} is outside {low:g}..{high:g}")
    return float(value)


def read_reference(path: Path) -> Reference:
    """The reference in a file: of its own, or a package's. Raises SettingError."""
    if path.is_dir():
        path = path / "model.json"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        fields = json.loads(path.read_text("utf-8"))
        if isinstance(fields, dict):
            fields = fields.get(FIELD, fields)
        reference = Reference.from_dict(fields)
        if reference is None:
            raise ValueError("it is empty")
    except (
        *(OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError),
        OverflowError,
    ) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SettingError(
            f"{path} holds no reference: {told[:300]}; make one by `pi10 export reference`"
        ) from error
    return reference


def section(fields: Mapping[str, Any]) -> str:
    """The part of the model card about the reference, from ``model.json``; may be empty."""
    told = fields.get(FIELD)
    if not told:
        return ""
    return (
        f"## Reference\n\nDrift is told from a run of {told['images']:,} images in"
        f" {told['minutes']:,} minutes: {', '.join(told['quantities'])}, and the mix of classes."
        " Classes and scores do not depend on it.\n"
    )
