"""A thinned manifest for a quick comparison: ``python -m benchmarks.thin manifest.csv --train 4``.

It keeps one training image in so many of each source and label, in the order of their hashes, so
that every run keeps the same; validation and test stay whole, unless --validation or --test thins
them too.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from pi10_classifier.datasets.manifest import manifest, read_manifest


def thinned(text: str, train: int, test: int = 1, validation: int = 1) -> str:
    """The manifest with one image of each split in so many of each source and label."""
    every = {"train": train, "validation": validation, "test": test}
    kept, seen = [], Counter[tuple[str, str, str]]()
    for sample in sorted(read_manifest(text), key=lambda sample: sample.sha256):
        key = (sample.source, sample.label, sample.split)
        if seen[key] % every[sample.split] == 0:
            kept.append(sample)
        seen[key] += 1
    return manifest(kept)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thin", description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--train", type=int, required=True, help="One training image in so many.")
    parser.add_argument("--test", type=int, default=1, help="One test image in so many.")
    parser.add_argument(
        "--validation", type=int, default=1, help="One validation image in so many."
    )
    given = parser.parse_args()
    text = given.manifest.read_text("utf-8")
    sys.stdout.write(thinned(text, given.train, given.test, given.validation))


if __name__ == "__main__":
    main()
