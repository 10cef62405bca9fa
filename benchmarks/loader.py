"""Does training read images as fast as its network eats them? The loader alone, then the network.

``python -m benchmarks.loader TAR... --recipe small`` decodes the images into memory, as
``pi10 train`` does; then, in turns, drains an epoch's varied batches with nobody training, and
lets the network eat one such batch again and again: forward, backward, and an optimiser's step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.data.loading import load, read_examples
from pi10_classifier.training.losses.registry import build_loss
from pi10_classifier.training.networks.base import Output
from pi10_classifier.training.networks.registry import build
from pi10_classifier.training.recipe import Recipe, named


def drain(batches: Batches, seconds: float) -> float:
    """Images/s of the loader alone, over as many epochs as it takes."""
    began, seen = time.perf_counter(), 0
    for epoch in count():
        batches.begin(epoch, batches.recipe.size)
        for place in range(len(batches)):
            seen += len(batches[place]["image"])
            if (spent := time.perf_counter() - began) > seconds:
                return seen / spent
    raise AssertionError("no end")


class Eater:
    """A network in training that is fed one batch for ever."""

    def __init__(self, name: str, recipe: Recipe, batches: Batches, counts: Sequence[int]) -> None:
        here = "cuda" if torch.cuda.is_available() else "cpu"
        network = build(name, len(counts), size=recipe.size, channels=recipe.channels,
                        init="random")  # fmt: skip
        network = network.to(here)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = build_loss(recipe.loss, counts, **recipe.loss_options).to(here)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=recipe.rate)
        self.batch = {key: value.to(here) for key, value in batches[0].items()}
        self.half = recipe.precision != "float32"
        self.eat(0)  # buffers and kernels are chosen on the first pass

    def eat(self, seconds: float) -> float:
        """Images/s of the network alone."""
        self.network.train()
        began, seen, here = time.perf_counter(), 0, self.batch["image"].device.type
        while True:
            with torch.autocast(here, torch.bfloat16, enabled=self.half):
                output = Output(*self.network(self.batch["image"]))
                loss = self.loss(output, self.batch["target"])
            loss.backward()
            self.optimiser.step()
            self.optimiser.zero_grad()
            loss.item()  # a GPU has answered by now
            seen += len(self.batch["image"])
            if (spent := time.perf_counter() - began) > seconds:
                return seen / spent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, help="labelled images, as for pi10 train")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--size", type=int, help="px; default: the recipe's")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--loaders", type=int, default=1, choices=range(1, 257), metavar="N",
                        help="1 to 256; default 1, as on a CPU")  # fmt: skip
    parser.add_argument("--processes", action="store_true",
                        help="loaders are processes, as beside a GPU")  # fmt: skip
    parser.add_argument("--threads", type=int, help="of the network on a CPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each round; default 5")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    size = {"size": options.size} if options.size else {}
    network, recipe = named(options.recipe, precision=options.precision, **size)
    examples = read_examples(options.inputs, manifest=options.manifest)
    began = time.perf_counter()
    training, held = load(examples, recipe)
    read = (len(training.truth) + len(held.truth)) / (time.perf_counter() - began)
    counts = [int((training.truth == k).sum()) for k in range(len(examples.classes))]
    batches = Batches(training, recipe, len(counts), loaders=options.loaders,
                      processes=options.processes)  # fmt: skip
    eater = Eater(network, recipe, batches, counts)
    loader, eaten = [], []
    for _ in range(options.rounds):
        loader.append(drain(batches, options.seconds))
        batches.begin(0, recipe.size)  # so that nothing is made ahead while the network is timed
        eaten.append(eater.eat(options.seconds))
    batches.close()
    device = next(eater.network.parameters()).device
    where = torch.cuda.get_device_name() if device.type == "cuda" else (
        f"a CPU, {torch.get_num_threads()} thread(s)"
    )  # fmt: skip
    table = Table(title=f"{network} at {recipe.size} px, batches of {batches.batch}, {where}")
    for name in ("what", "images/s", "least to most"):
        table.add_column(name)
    table.add_row("decoding into memory, once", f"{read:,.0f}", "")
    kind = "process(es)" if options.processes else "thread(s)"
    alone = f"loader alone, {options.loaders} {kind}"
    for name, found in ((alone, loader), ("network alone", eaten)):
        table.add_row(name, f"{statistics.median(found):,.1f}",
                      f"{min(found):,.1f} to {max(found):,.1f}")  # fmt: skip
    Console().print(table)
    ratio = statistics.median(loader) / statistics.median(eaten)
    print(f"the loader makes {ratio:.1f} times what the network eats")


if __name__ == "__main__":
    main()
