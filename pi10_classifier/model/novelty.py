"""How unlike a model's training images an image is: what a package says of it.

The graph gives the number beside the logits, as an output of its own; ``model.json`` names that
output and the threshold above which an image is flagged ``unlike_training``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIELD = "novelty"
"""The field of model.json; absent where a package cannot tell."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """The novelty of a package.

    output: the graph's output with one number for each image, float32 (N,). threshold: images
    above it are flagged. false_alarms: the share of held-out images of the model's classes that
    are above it, 0..1.
    """

    output: str
    threshold: float
    false_alarms: float

    @classmethod
    def from_dict(cls, fields: Any) -> Novelty | None:
        """From ``novelty`` of model.json; None stays None. Raises KeyError or ValueError."""
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise ValueError(f"novelty: {str(fields)[:80]!r} is no object")
        output, threshold = fields["output"], _number(fields, "threshold")
        if not isinstance(output, str) or not output:
            raise ValueError(f"novelty: output is {str(output)[:80]!r}; it must name an output")
        share = _number(fields, "false_alarms")
        if not 0 < share < 1:
            raise ValueError(f"novelty: false_alarms is {share}; it must be above 0 and below 1")
        return cls(output, threshold, share)


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"novelty: {name} is {str(value)[:80]}; it must be a finite number")
    return float(value)


def section(fields: Mapping[str, Any]) -> str:
    """The part of the model card about novelty, from the fields of model.json; may be empty."""
    told = fields.get(FIELD)
    if not told:
        return ""
    lines = [
        "## Unlike the training images",
        "",
        f"The output `{told['output']}` tells how unlike the training images an image is: 0 is the"
        " median of held-out images of the model's classes, and"
        f" {100 * told['false_alarms']:g} % of them are above the threshold,"
        f" {told['threshold']:g}; those are flagged `unlike_training`. The class and its score"
        " do not depend on it. It is the residual of"
        f" the normalised features after {told['components']} principal components plus the"
        " energy of the logits (ViM, Wang et al. 2022, arXiv 2203.10807), fitted on"
        f" {told['images']:,} images{_of_split(told)}; the threshold is from five-fold"
        " cross-fitting on the same images.",
        "",
    ]
    judged = told.get("judged", {})
    if not judged:
        return "\n".join([*lines, "How well it tells was not measured; run `pi10 evaluate`.", ""])
    lines += [
        "On the test images: `outside` are images of none of the classes, known are all others."
        " AUROC is 0.5 and AUPR the share of outside images if the number tells nothing. 95 %"
        " intervals from 1,000 bootstrap resamples of the images.",
        "",
        "| source | known | outside | AUROC | AUPR | flagged of known | flagged of outside |"
        " AUROC of the highest probability |",
        "|---|---:|---:|---|---|---|---|---|",
    ]
    for source, row in judged.items():
        cells = [_span(row[name]) for name in ("auroc", "aupr", "flagged_known", "flagged_outside")]
        by_score = _span(row["by_probability"]["auroc"])
        lines.append(
            f"| {source} | {row['known']:,} | {row['outside']:,} | {' | '.join(cells)}"
            f" | {by_score} |"
        )
    lines += [
        "",
        "**It is a weak flag.** Most images of none of the classes are not flagged. A bin or a run"
        " with a much larger share of flagged images than of the known ones above differs from the"
        " training images: label a sample of it. An image without the flag may be unlike all the"
        " same.",
        "",
    ]
    return "\n".join(lines)


def _of_split(told: Mapping[str, Any]) -> str:
    return f" of the {told['split']} split" if told.get("split") else ""


def _span(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
