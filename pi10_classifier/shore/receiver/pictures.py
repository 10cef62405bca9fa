"""A small picture of a particle as a ship sends it: decoded by the gate, and encoded anew.

Its bytes come from outside. What the page serves is drawn from the decoded pixels alone, so nothing
but pixels passes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pi10_classifier.errors import InputError

MOST_BYTES = 32 * 1024  # `pi10 watch` keeps to 8
MOST_SIDE = 512
_QUALITY = 80
_WORD = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
_LARGEST_UM = 1e6


class PictureError(ValueError):
    """A picture that can never be accepted; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of one particle. score: 0 to 1. esd_um: None where it was not measured."""

    particle: str
    label: str
    score: float
    esd_um: float | None
    jpeg: bytes


def read_picture(fields: Mapping[str, str], body: bytes) -> Picture:
    """Check a request's query and body. Raises PictureError."""
    words = {name: fields.get(name, "") for name in ("particle", "label")}
    for name, word in words.items():
        if not _WORD.fullmatch(word):
            raise PictureError(f"{name} is {ascii(word)[:60]}; it must be a short word")
    score = _number(fields, "score", 1.0)
    if score is None:
        raise PictureError("score is missing; it must be a number from 0 to 1")
    esd_um = _number(fields, "esd_um", _LARGEST_UM)
    # with the first picture: a shore that gets none needs neither
    import cv2

    from pi10_classifier.imaging.decode import Caps, decode

    caps = Caps(bytes=MOST_BYTES, pixels=MOST_SIDE * MOST_SIDE, side=MOST_SIDE)
    try:
        rgb = decode(body, caps).rgb
    except InputError as error:
        raise PictureError(f"{error.code}: {error.message}") from error
    encoded = cv2.imencode(".jpg", rgb[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1]
    return Picture(words["particle"], words["label"], score, esd_um, encoded.tobytes())


def _number(fields: Mapping[str, str], name: str, most: float) -> float | None:
    text = fields.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise PictureError(f"{name} is {ascii(text)[:60]}; it must be a number from 0 to {most:g}")
    return value
