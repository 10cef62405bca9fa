"""The measured numbers that a package's graph takes beside the image.

``model.json`` names the graph's second input and its columns. A number may be missing (NaN): the
graph itself puts the usual value in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pi10_classifier.imaging.measured_vector import NAMES

FIELD = "measured"
"""The field of model.json; absent where the graph takes the image alone."""
INPUT = "measured"


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured input of a package.

    input: the graph's input, float32 (N, M), NaN where a number is missing. names: its columns,
    each one of ``measured_vector.NAMES``.
    """

    input: str
    names: tuple[str, ...]

    @classmethod
    def from_dict(cls, fields: Any) -> Measured | None:
        """From ``measured`` of model.json; None stays None. Raises KeyError or ValueError."""
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise ValueError(f"measured: {str(fields)[:80]!r} is no object")
        name, names = fields["input"], fields["names"]
        if not isinstance(name, str) or not name:
            raise ValueError(f"measured: input is {str(name)[:80]!r}; it must name an input")
        if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
            raise ValueError(f"measured: names is {str(names)[:80]}; it must list different names")
        if unknown := [x for x in names if x not in NAMES]:
            raise ValueError(
                f"measured: this program does not measure {str(unknown[0])[:80]!r}; it measures"
                f" {', '.join(NAMES)}"
            )
        return cls(name, tuple(names))

    def to_dict(self) -> dict[str, Any]:
        """The inverse of ``from_dict``."""
        return {"input": self.input, "names": list(self.names)}
