"""The finer groups that a network predicts, and the class that each belongs to.

The graph gives the groups' logits beside the class logits, which are their log-sum-exp: the
probability of a class is the sum of those of its groups. ``model.json`` names the output and says
which group belongs to which class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

FIELD = "groups"
"""The field of model.json; absent where a package predicts classes alone."""
OUTPUT = "groups"


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a package.

    names: in the order of the output's columns. classes: those of the package, in its order.
    of: group -> class. output: the graph's output with the groups' logits, float32 (N, G).
    Raises ValueError where the table does not fit groups and classes.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    of: Mapping[str, str]
    output: str = OUTPUT

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"groups: {_listed(twice)} is named twice; each group needs one name")
        if lacking := [name for name in self.names if name not in self.of]:
            raise ValueError(f"groups: {_listed(lacking)} has no class; add it to the table 'of'")
        if more := [name for name in self.of if name not in self.names]:
            raise ValueError(
                f"groups: the table 'of' gives a class to {_listed(more)}, which is not among the"
                " names"
            )
        for name in self.names:
            if self.of[name] not in self.classes:
                raise ValueError(
                    f"groups: {name!r} belongs to {self.of[name]!r}, which is not a class of the"
                    f" model ({_listed(self.classes)})"
                )
        if empty := [label for label in self.classes if label not in self.of.values()]:
            raise ValueError(f"groups: the class {_listed(empty)} has no group; give it one")

    @classmethod
    def from_dict(cls, fields: Any, classes: Sequence[str]) -> Groups | None:
        """From ``groups`` of model.json; None stays None. Raises KeyError or ValueError."""
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise ValueError(f"groups: {str(fields)[:80]!r} is no object")
        names, of, output = fields["names"], fields["of"], fields["output"]
        if not isinstance(names, list) or not all(_is_name(name) for name in names):
            raise ValueError(f"groups: names is {str(names)[:80]}; it must be a list of names")
        if not isinstance(of, dict) or not all(isinstance(label, str) for label in of.values()):
            raise ValueError(f"groups: of is {str(of)[:80]}; it must give each group its class")
        if not _is_name(output):
            raise ValueError(f"groups: output is {str(output)[:80]!r}; it must name an output")
        return cls(tuple(names), tuple(classes), dict(of), output)

    def to_dict(self) -> dict[str, Any]:
        """The inverse of ``from_dict``."""
        return {"names": list(self.names), "of": dict(self.of), "output": self.output}

    @property
    def places(self) -> I64:
        """The class (G,) of each group, as its index."""
        return np.array([self.classes.index(self.of[name]) for name in self.names], np.int64)

    def rolled_up(self, logits: F32) -> F32:
        """Group logits (N, G) -> class logits (N, K): the log-sum-exp of each class's groups."""
        columns = []
        for label in range(len(self.classes)):
            own = logits[:, self.places == label].astype(np.float64)
            top = own.max(axis=1, keepdims=True)
            columns.append(top[:, 0] + np.log(np.exp(own - top).sum(axis=1)))
        return np.asarray(np.stack(columns, axis=1), np.float32)

    def most_probable(self, logits: F32, scores: F32) -> list[str]:
        """The group with the highest logit (N, G) within the class of the highest score (N, K)."""
        inside = self.places[None] == scores.argmax(axis=1)[:, None]
        best = np.where(inside, logits, -np.inf).argmax(axis=1)
        return [self.names[place] for place in best.tolist()]


def section(fields: Mapping[str, Any]) -> str:
    """The part of the model card about groups, from the fields of model.json; may be empty."""
    told = fields.get(FIELD)
    if not told:
        return ""
    images = fields.get("training", {}).get("groups", {})
    lines = [
        "## Groups",
        "",
        f"The network predicts {len(told['names'])} groups (output `{told['output']}`), and the"
        " probability of a class is the sum of those of its groups. `pi10 classify --groups` adds"
        " the most probable group within the class to the table.",
        "",
        "| class | group | training images |",
        "|---|---|---:|",
    ]
    for label in fields["classes"]:
        for name in told["names"]:
            if told["of"][name] == label:
                count = f"{images[name]:,}" if name in images else ""
                lines.append(f"| {label} | {name} | {count} |")
    return "\n".join([*lines, ""])


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
