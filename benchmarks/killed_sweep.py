"""`pi10 table1` killed again and again, beside the same sweep without a kill.

    python -m benchmarks.killed_sweep TAR... --manifest manifest.csv --out DIR

Two losses by one network by two seeds are trained twice, on images thinned so that it takes
minutes: once in one go, and once with a ``kill -9`` in the middle of every training but the first,
each followed by the same command. Told is whether what was trained before a kill stayed as it was,
byte for byte, and whether both tables are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.thin import thinned

LAST = "test_predictions.csv"  # of a training: written when all else is
TABLE = "table1.csv"


@dataclass
class Sweep:
    """One folder of `pi10 table1`, and the command that fills it."""

    words: Sequence[str]
    out: Path
    seconds: list[float] = field(default_factory=list)  # of the trainings that were seen to the end

    def run(self, kill_after: float | None = None) -> None:
        """Until it ends, or is killed so many seconds after it began its second training.

        The first is the one that an earlier kill has cut.
        """
        command = [sys.executable, "-m", "pi10_classifier", *self.words, "--out", str(self.out)]
        begun, last = 0, 0.0
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr or ():
                print(f"  {line.rstrip()}", flush=True)
                if not line.startswith("seed "):
                    continue
                now = time.monotonic()
                self.seconds += [now - last] if begun else []
                begun, last = begun + 1, now
                if kill_after is not None and begun == 2:
                    time.sleep(kill_after)
                    process.kill()
                    print(f"  killed {kill_after:.1f} s later", flush=True)
        if kill_after is None and process.returncode not in (0, 3):
            raise SystemExit(f"the sweep ended with {process.returncode}")

    def done(self) -> dict[str, str]:
        """The files of all finished trainings, and their hashes and times."""
        return {
            str(path.relative_to(self.out)):
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
            for last in self.out.glob(f"*/seed-*/{LAST}")
            for path in last.parent.rglob("*") if path.is_file()
        }  # fmt: skip


def finished(files: dict[str, str]) -> int:
    return sum(path.endswith(LAST) for path in files)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--loss", default="st_ce,las", help="default st_ce,las")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=32, help="px; default 32")
    parser.add_argument("--thin", type=int, default=40, help="keep one image in so many")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    few = given.out / "manifest.csv"
    few.write_text(thinned(given.manifest.read_text("utf-8"), *[given.thin] * 3), "utf-8")
    losses = given.loss.split(",")
    words = ["table1", *map(str, given.inputs), "--manifest", str(few), "--network", given.network,
             "--seeds", str(given.seeds), "--no-tracking", "--set", "deterministic=true",
             "--set", f"epochs={given.epochs}", "--set", f"size={given.size}"]  # fmt: skip
    words += [word for loss in losses for word in ("--loss", loss)]
    whole, cut = (Sweep(words, given.out / name) for name in ("whole", "cut"))
    whole.run()
    middle = min(whole.seconds) / 2
    kills = len(losses) * given.seeds - 1
    kept, before = True, cut.done()
    for turn in range(kills + 1):
        cut.run(kill_after=middle if turn < kills else None)
        after = cut.done()
        kept &= all(after.get(path) == its for path, its in before.items())
        print(f"{turn + 1} times begun: {finished(after)} trainings done", flush=True)
        before = after
    same = (whole.out / TABLE).read_bytes() == (cut.out / TABLE).read_bytes()
    print((whole.out / TABLE).read_text("utf-8"))
    print(f"{kills} kills; trainings done before a kill stayed as they were: {kept}; the table is "
          f"that of the sweep without a kill: {same}; {os.cpu_count()} cores")  # fmt: skip
    sys.exit(not (kept and same))


if __name__ == "__main__":
    main()
