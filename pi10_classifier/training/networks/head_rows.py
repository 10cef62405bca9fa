"""Which rows of a new head begin with weights of an earlier one, by the names of what they tell.

Two heads of the same shape need not mean the same: their rows are matched by the name of the group,
or of the class. A row without a counterpart begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pi10_classifier.model.groups import FIELD as GROUPS
from pi10_classifier.model.groups import Groups


@dataclass(frozen=True, slots=True)
class HeadRows:
    """The rows of a new head.

    names: of its rows. taken: name -> row of the earlier head, and what its bias is lowered by.
    count: rows of the earlier head. several: names that stand for several of its rows, whose sum is
    no linear row.
    """

    names: tuple[str, ...]
    taken: Mapping[str, tuple[int, float]]
    count: int
    several: tuple[str, ...] = ()

    @property
    def new(self) -> tuple[str, ...]:
        """Names of the rows that begin anew."""
        return tuple(name for name in self.names if name not in self.taken)

    def fill(self, own: Tensor, theirs: Tensor) -> bool:
        """Copy rows into ``own``, a weight (R, D) or bias (R,); False if the shapes do not fit."""
        fits = len(own) == len(self.names) and len(theirs) == self.count
        if not fits or own.shape[1:] != theirs.shape[1:]:
            return False
        with torch.no_grad():
            for place, name in enumerate(self.names):
                if name in self.taken:
                    row, less = self.taken[name]
                    own[place] = theirs[row] - (less if own.ndim == 1 else 0.0)
        return True

    def note(self, origin: str) -> str:
        """A sentence for the person who trains; "" if every row has its own counterpart."""
        if not self.new:
            return ""
        kept = ", ".join(name for name in self.names if name in self.taken) or "no row"
        why = f"; {origin} predicts several groups of {', '.join(self.several)}, which no single"
        why += " row can sum"
        return (
            f"note: of the last layer, {kept} begins with the weights of {origin}, and"
            f" {', '.join(self.new)} anew{why if self.several else ''}"
        )


def head_rows(
    before: Mapping[str, Any], classes: Sequence[str], groups: Groups | None
) -> HeadRows | None:
    """Match a new head with that of a description (model.json or checkpoint.json).

    None if the description names no classes. A group takes the row of the group with its name, or
    without groups there that of its class, lowered so that the groups sum to it. A class takes the
    row of the class, or of its only group.
    """
    labels = before.get("classes")
    if not isinstance(labels, list):
        return None
    told = before.get(GROUPS)
    names: list[str] = list(told["names"]) if told else list(labels)
    row = {name: place for place, name in enumerate(names)}
    taken: dict[str, tuple[int, float]] = {}
    several: list[str] = []
    if groups and told:
        taken = {name: (row[name], 0.0) for name in groups.names if name in row}
    elif groups:
        homes = list(groups.of.values())
        taken = {
            name: (row[home], math.log(homes.count(home)))
            for name, home in groups.of.items()
            if home in row
        }
    elif told:
        for label in classes:
            own = [name for name in names if told["of"][name] == label]
            if len(own) == 1:
                taken[label] = (row[own[0]], 0.0)
            elif own:
                several.append(label)
    else:
        taken = {label: (row[label], 0.0) for label in classes if label in row}
    return HeadRows(tuple(groups.names if groups else classes), taken, len(names), tuple(several))
