"""What is compared with a reference, and what a change of it speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FIELD = "reference"
"""The field of model.json with a reference; absent where a package has none."""
CAMERA, MODEL, SEA = "camera", "model", "sea"
MIX = "mix"
"""The shares of the classes: the one quantity that is not of an image."""


class Quantity(NamedTuple):
    """column: of the predictions table. subject: camera, model or sea. meaning: in words."""

    column: str
    subject: str
    meaning: str


QUANTITIES: Mapping[str, Quantity] = {
    "ground": Quantity("ground_grey", CAMERA, "grey level of the ground: light, exposure"),
    "spread": Quantity("ground_spread", CAMERA, "unevenness of the ground: dirt, noise"),
    "stripe": Quantity(
        "ground_stripe", CAMERA, "darkest column of the ground: dirt on the line scan"
    ),
    "sharpness": Quantity("sharpness", CAMERA, "steepest edge of an image: focus, motion"),
    "score": Quantity("score", MODEL, "the score of the predicted class"),
    "novelty": Quantity("novelty", MODEL, "how unlike the model's training images they are"),
    "size": Quantity("esd_um", SEA, "the particles' equivalent spherical diameter"),
}
"""Quantities of an image, in the order of tables. Each is compared within predicted classes."""

CAMERA_COLUMNS = tuple(q.column for q in QUANTITIES.values() if q.subject == CAMERA)


def subject_of(name: str) -> str:
    """camera, model or sea."""
    return SEA if name == MIX else QUANTITIES[name].subject
