"""What a benchmark ran on: cores, processor and the instruction sets that decide its speed."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from pi10_classifier.inference.settings import default_jobs

# those that the runtimes choose their kernels by
_SETS = frozenset(
    {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
    | {"asimd", "asimddp", "bf16", "i8mm", "sve"}  # of Arm
)


def described() -> dict[str, Any]:
    """Cores that this process may use, processor, instruction sets, system and its load."""
    return {
        "cores": default_jobs(),
        "processor": processor(),
        "instruction_sets": instruction_sets(),
        "system": platform.platform(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    """The processor's name."""
    return _cpuinfo("model name") or platform.processor() or os.name


def instruction_sets() -> list[str]:
    """The instruction sets of ``_SETS`` that the processor has; empty where Linux does not tell."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return sorted(_SETS & flags)


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
