"""Where an export lists what it left out."""

from __future__ import annotations

from pathlib import Path


def left_out_path(out: Path) -> Path:
    """The list beside a file: ``cruise.nc.left_out.csv``, so that each export has its own."""
    return out.with_name(f"{out.name}.left_out.csv")
