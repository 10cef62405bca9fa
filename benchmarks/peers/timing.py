"""Times one peer; imported by the scripts beside it, in their own environments."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WARM_UP = 4


def files_of(folder: str) -> list[str]:
    """The image files of a folder, in order."""
    return [str(path) for path in sorted(Path(folder).iterdir())]


def report(classify: Callable[[list[str]], object], files: Sequence[str], about: str) -> None:
    """Time ``classify`` on the files, and print what was measured."""
    classify(list(files[:WARM_UP]))
    processor, began = time.process_time(), time.perf_counter()
    classify(list(files))
    measured = {
        "images": len(files),
        "seconds": time.perf_counter() - began,
        "core_seconds": time.process_time() - processor,
        "peak_mb": peak_mb(),
        "about": about,
    }
    print("\n" + json.dumps(measured))


def peak_mb() -> float | None:
    """The most memory that this process has held, MB; None where it cannot be read."""
    if sys.platform != "linux":
        return None
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10
