"""Draws docs/images/sheet.png: what the service answers to a simulated bin, as a picture.

python docs/picture.py [FILE]      (needs the extra [serve])
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from deepaas.model.v2.wrapper import UploadedFile

from pi10_classifier.api import predict
from pi10_classifier.simulate import simulate_cruise

SHEET = Path(__file__).parent / "images" / "sheet.png"


def draw(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (bin_tar,) = simulate_cruise(Path(folder), bins=1, images=16)
        # predict removes what it is given, as it does with an upload
        upload = UploadedFile("data", str(bin_tar), "application/x-tar", bin_tar.name)
        answer = predict(data=upload, accept="image/png")
    if isinstance(answer, dict):
        sys.exit(f"no picture: {answer['error']}")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(answer if isinstance(answer, bytes) else answer.read())


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else SHEET)
