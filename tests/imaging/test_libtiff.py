"""Broken TIFFs are failures with a code, and nothing on stderr."""

from __future__ import annotations

import subprocess
import sys

import pytest
from images import RGB, saved
from PIL import Image as Pillow

from pi10_classifier.imaging.libtiff import silence_libtiff

DECODE = """
import sys
from pi10_classifier.imaging.decode import decode
from pi10_classifier.errors import InputError
try:
    decode(sys.stdin.buffer.read())
except InputError as error:
    print(error.code.value)
"""


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_damaged_strip_is_told_by_its_code_alone(compression: str) -> None:
    if not silence_libtiff():
        pytest.skip("this Pillow has libtiff linked in")
    data = bytearray(saved(Pillow.fromarray(RGB), compression=compression))
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff" * 64
    done = subprocess.run(
        [sys.executable, "-c", DECODE], input=bytes(data), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "corrupt_image"
    assert done.stderr == b""
