"""Keeps libtiff, the C library that decodes compressed TIFFs, from writing to stderr.

A damaged file is recorded as a failure with a code. Pillow turns off the library's warnings but
not its errors. So the error handlers are removed, once per process, in the copy that Pillow loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import cache
from pathlib import Path

_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetErrorHandlerExt", "TIFFSetWarningHandler")


@cache
def silence_libtiff() -> bool:
    """Keep libtiff from writing to stderr; False where it is linked in and out of reach."""
    silenced = False
    for path in _loaded():
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            for name in _HANDLERS:
                handler = getattr(library, name)
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)
            silenced = True
    return silenced


def _loaded() -> list[Path]:
    """The libtiff files loaded by this process; on systems without /proc, those with Pillow."""
    import PIL
    from PIL import _imaging  # noqa: F401  loads libtiff

    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
            paths = {line.split(maxsplit=5)[5] for line in lines if "libtiff" in line}
            return [Path(path) for path in sorted(paths)]
    home = Path(PIL.__file__).parent
    return [*home.glob(".dylibs/libtiff*"), *home.parent.glob("pillow.libs/libtiff*")]
