"""The C library that decodes compressed TIFFs writes what it stumbles over to stderr: not here.

What is wrong with a file is a failure with a code. Pillow turns the library's warnings off, but
not its errors; so their handler is taken away, once a process, in the copy that Pillow loaded.
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
    """Keep libtiff from writing to stderr; False where it cannot be reached (linked in)."""
    found = False
    for path in _loaded():
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            for name in _HANDLERS:
                handler = getattr(library, name)
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)
            found = True
    return found


def _loaded() -> list[Path]:
    """The libtiff files in this process, or beside Pillow where the system does not tell."""
    import PIL
    from PIL import _imaging  # noqa: F401  loads it

    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
            paths = {line.split(maxsplit=5)[5] for line in lines if "libtiff" in line}
            return [Path(path) for path in sorted(paths)]
    home = Path(PIL.__file__).parent
    return [*home.glob(".dylibs/libtiff*"), *home.parent.glob("pillow.libs/libtiff*")]
