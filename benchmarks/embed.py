"""How much slower `pi10 embed` is than `pi10 classify`: both in turns, in one process.

    python -m benchmarks.embed [--images 2000] [--pairs 5] [--model starter] [--input TAR]

Input is a simulated cruise, unless another is given. Of each pair the order changes, so that a
machine that others use as well is as busy for one as for the other; processor time per image is
told beside the rate. The map is not part of it: `--map none`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from pi10_classifier.classify import classify
from pi10_classifier.embedding.embed import embed
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import find
from pi10_classifier.simulate import simulate_cruise

BINS = 4
WAYS = {"classify": classify, "embed": embed}


def measure(way: str, inputs: list[str], out: Path, settings: Settings) -> tuple[float, float]:
    """Images per second, and processor milliseconds per image."""
    began, used = time.perf_counter(), time.process_time()
    run = WAYS[way](inputs, out, settings)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    images = run.tally.totals["results"]
    return images / seconds, 1000 * processor / images


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--input", type=Path)
    given = parser.parse_args()
    settings = Settings(model=find(given.model))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        inputs = [str(given.input)] if given.input else [
            str(path) for path in
            simulate_cruise(home / "cruise", bins=BINS, images=given.images // BINS)
        ]  # fmt: skip
        for way in WAYS:  # once before: caches and imports
            measure(way, inputs[:1], home / f"warm-{way}", settings)
        rates, costs = [], []
        for pair in range(given.pairs):
            order = list(WAYS) if pair % 2 == 0 else list(WAYS)[::-1]
            told = {way: measure(way, inputs, home / f"{way}-{pair}", settings) for way in order}
            rates.append(told["embed"][0] / told["classify"][0])
            costs.append(told["classify"][1] / told["embed"][1])
            print(
                f"pair {pair + 1}: "
                + ", ".join(
                    f"{way} {rate:,.0f}/s, {cost:.2f} ms" for way, (rate, cost) in told.items()
                ),
                flush=True,
            )
        print(f"rate of embed by that of classify: {spread(rates)}")
        print(f"the same by processor time: {spread(costs)}")


if __name__ == "__main__":
    main()
