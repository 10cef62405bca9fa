"""Images drawn up for tests of the decoder gate, and what it makes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import hostile
import numpy as np
import pytest
from PIL import Image as Pillow

from pi10_classifier.decode import CAPS, Caps, decode
from pi10_classifier.errors import Code, InputError

SHORT, LONG = 3, 4
RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (24, 40, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (24, 40, 3)).astype(np.uint16)
SIXTEEN = np.array([[0, 40_000, 65_535, 1000]], np.uint16)
TWELVE = np.array([[0, 2048, 4095, 16]], np.uint16)


def refusal(data: bytes, caps: Caps = CAPS) -> Code:
    with pytest.raises(InputError) as caught:
        decode(data, caps)
    assert caught.value.message
    assert "0x" not in caught.value.message  # no address: tables are the same in every run
    return caught.value.code


def outcome(data: bytes) -> Code | None:
    """None for an image, else a code; anything else fails the test."""
    try:
        image = decode(data)
    except InputError as error:
        assert error.code is not Code.INTERNAL
        return error.code
    assert image.rgb.dtype == np.uint8
    assert image.rgb.ndim == 3
    assert image.rgb.shape[2] == 3
    assert image.rgb.size > 0
    return None


def saved(image: Pillow.Image, form: str = "TIFF", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def tiff_of(
    array: np.ndarray, *, photometric: int | None = None, order: str = "<", more: Sequence[Any] = ()
) -> bytes:
    """An array as one uncompressed strip, 8 or 16 bits a sample."""
    height, width = array.shape[:2]
    samples = array.shape[2] if array.ndim == 3 else 1
    bits = (array.dtype.itemsize * 8,) * samples
    if photometric is None:
        photometric = 2 if samples >= 3 else 1
    strip = array.astype(array.dtype.newbyteorder(order)).tobytes()
    return hostile.layout(
        width, height, bits=bits, photometric=photometric, strip=strip, order=order, more=more
    )


def png_of(array: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)[1])


def grey(values: Sequence[int]) -> list[list[list[int]]]:
    return [[[value] * 3 for value in values]]
