"""Versions of what results may depend on."""

from __future__ import annotations

from importlib import import_module

# by module: onnxruntime-gpu and opencv-python are as good as the packages we ask for
MODULES = {
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyarrow": "pyarrow",
}


def versions() -> dict[str, str]:
    """The versions of what results may depend on; empty where a package is missing."""
    found = {}
    for name, module in MODULES.items():
        try:
            found[name] = str(import_module(module).__version__)
        except ImportError:
            found[name] = ""
    return found
