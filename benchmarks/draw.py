"""How long `pi10 validate draw` or `suggest` takes, and how much memory, on a run of many rows.

    python -m benchmarks.draw [--rows 10000000] [--n 300] [--command draw|suggest]

The run's rows are made up; what is measured is the command, as a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pi10_classifier.results.columns import schema

CLASSES = ("copepod", "detritus", "noncopepod")
PART_ROWS = 100_000


def write_part(path: Path, number: int, rows: int, rng: np.random.Generator) -> None:
    """One bin of particles, their factors log-normal, in the columns of a real part."""
    named = {
        "label": np.array(CLASSES)[rng.choice(3, rows, p=(0.2, 0.6, 0.2))],
        "particle_id": [f"pia7.{number:06d}+N{n:08d}" for n in range(rows)],
        "bin": [f"pia7.bin{number:06d}"] * rows,
        "raising_factor": np.exp(rng.normal(0.5, 0.5, rows)),
    }
    columns = []
    for field in schema(CLASSES):
        if field.name in named:
            columns.append(pa.array(named[field.name], field.type))
        elif field.type == pa.string():
            columns.append(pa.array(["x"] * rows))
        elif pa.types.is_floating(field.type):
            columns.append(pa.array(rng.random(rows)).cast(field.type))
        else:
            columns.append(pa.array(np.full(rows, 60)).cast(field.type))
    table = pa.Table.from_arrays(columns, schema=schema(CLASSES))
    pq.write_table(table, path, compression="zstd", row_group_size=16_384)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--command", choices=["draw", "suggest"], default="draw")
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as home:
        parts = Path(home) / "predictions.parquet"
        parts.mkdir()
        for number, first in enumerate(range(0, given.rows, PART_ROWS)):
            rows = min(PART_ROWS, given.rows - first)
            write_part(parts / f"{number:06d}.parquet", number, rows, rng)
        began = time.monotonic()
        words = ["validate", given.command, home, "--n", str(given.n)]
        subprocess.run([sys.executable, "-m", "pi10_classifier", *words], check=True)
        seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{given.rows:,} rows: {seconds:.1f} s, {peak:.0f} MiB at most")


if __name__ == "__main__":
    main()
