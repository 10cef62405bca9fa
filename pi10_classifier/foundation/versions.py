"""Versions of the packages that results may depend on."""

from __future__ import annotations

from importlib import import_module

# asked by module name: onnxruntime-gpu and opencv-python can replace the listed packages
MODULES = {
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyarrow": "pyarrow",
}


def versions() -> dict[str, str]:
    """Package -> version; empty where the package is missing."""
    installed = {}
    for name, module in MODULES.items():
        try:
            installed[name] = str(import_module(module).__version__)
        except ImportError:
            installed[name] = ""
    return installed
