"""What a few labels bring: ``pi10 adapt`` drawn again and again, beside its former procedure.

``python -m benchmarks.adapt MODEL TAR... --manifest manifest.csv --source pwssc`` draws 5, 20 and
50 crops a class from that source's training split, fits a head to each draw, and judges it on the
source's test split. MODEL must have been trained without the source. For classes that mean
something else than the model's, ``--from validation`` without ``--source`` draws from images that
it was not trained on. Features are computed once; the graph is not written.

``--finetune 2`` also trains the network on the first two draws of each number of labels, as
`pi10 adapt --finetune` does; "refused" are those of which it would write nothing. ``--unlabelled
400`` also fits the head together with so many particles without labels, at the labels that the head
itself is surest of (self-training, Lee 2013), as if they were source images.

"former" is what `adapt` did before: features scaled by the gallery alone, and of a linear head,
neighbours and a forest the one with the best cross-validated macro-F1.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pi10_classifier.datasets.records import Sample, Scan
from pi10_classifier.datasets.selection import load_labelled
from pi10_classifier.evaluation.analysis import figures_of
from pi10_classifier.evaluation.calibration import fit_temperature_of_few
from pi10_classifier.evaluation.metrics import F64, I64, macro_f1, nll, softmax
from pi10_classifier.evaluation.scoring import score
from pi10_classifier.model.package import read_package
from pi10_classifier.model.session import Model
from pi10_classifier.packaging.adaptation.as_it_is import paired
from pi10_classifier.packaging.adaptation.choice import FOLDS, Settings, folds
from pi10_classifier.packaging.adaptation.design import joined_rows
from pi10_classifier.packaging.adaptation.features import OwnHead, Trunk, cut, own_head
from pi10_classifier.packaging.adaptation.finetune import finetune, fit_of, read_pixels
from pi10_classifier.packaging.adaptation.fitting import Best, beats, best_head, choose
from pi10_classifier.packaging.adaptation.gallery import (
    VIEWS,
    Gallery,
    compute_features,
    particles,
)
from pi10_classifier.packaging.adaptation.heads import HEADS
from pi10_classifier.packaging.adaptation.replay import Replay, read_replay
from pi10_classifier.registry.resolve import find

PIECE = 500


def drawn(samples: Sequence[Sample], labels: int, seed: Sequence[int]) -> list[Sample]:
    """``labels`` samples of each class, at random."""
    rng = np.random.default_rng(list(seed))
    chosen: list[Sample] = []
    for group in sorted({s.group for s in samples}):
        mine = [s for s in samples if s.group == group]
        chosen += [mine[i] for i in rng.choice(len(mine), labels, replace=False)]
    return chosen


def of(gallery: Gallery, samples: Sequence[Sample]) -> Gallery:
    """The part of a gallery that these samples are."""
    place = {(s.source, s.member): i for i, s in enumerate(gallery.samples)}
    rows = np.array([place[s.source, s.member] for s in samples])
    return replace(
        gallery, x=gallery.x[rows], y=gallery.y[rows], particle=gallery.particle[rows],
        measured=gallery.measured[rows], samples=tuple(samples),
    )  # fmt: skip


class FormerLinear:
    """Logistic regression on features scaled by the gallery's views alone."""

    def __init__(self, x: Any, y: I64, c: float) -> None:
        self.scaler = StandardScaler().fit(x)
        fit = LogisticRegression(C=c, class_weight="balanced", max_iter=2000)
        self.fit = fit.fit(self.scaler.transform(x), y)

    def logits(self, x: Any) -> F64:
        z = np.asarray(self.fit.decision_function(self.scaler.transform(x)), np.float64)
        return np.stack([-z / 2, z / 2], axis=1) if z.ndim == 1 else z


def former(gallery: Gallery, test: Gallery, linear_only: bool) -> tuple[str, F64]:
    """The head that the former procedure chose, and its logits of the test images."""
    k, best = len(gallery.classes), []
    for c in (10.0**n for n in range(-5, 1)):
        logits = np.empty((len(gallery.y), k))
        for fit, held in folds(gallery, np.arange(len(gallery.y)), FOLDS, 0):
            logits[held] = FormerLinear(*gallery.fit_rows(fit), c).logits(gallery.x[held, 0])
        loss = nll(logits, gallery.y, fit_temperature_of_few(logits, gallery.y))
        best.append((loss, c, macro_f1(gallery.y, logits.argmax(axis=1), k)))
    loss, c, reached = min(best)
    heads = [(-reached, loss, "linear", {"c": c})]
    for name in () if linear_only else HEADS:
        tried = choose(gallery, name, 0)
        heads.append((-tried.macro_f1, tried.loss, name, dict(tried.settings)))
    _, _, name, settings = min(heads, key=lambda row: row[:2])
    rows = gallery.fit_rows(slice(None))
    head = (
        FormerLinear(*rows, **settings) if name == "linear" else HEADS[name](*rows, 0, **settings)
    )
    return name, head.logits(test.x[:, 0])


def surest(head: Best, crops: Gallery, unlabelled: Gallery) -> Replay:
    """The half of each class's particles, as the head calls them, that it is surest of."""
    logits = head.fitted.logits(joined_rows(unlabelled, head.scale)[:, 0])
    p = softmax(logits, head.tried_as.temperature)
    guess, sure = p.argmax(axis=1), p.max(axis=1)
    keep = np.zeros(len(guess), bool)
    for place in np.unique(guess):
        mine = np.flatnonzero(guess == place)
        keep[mine[np.argsort(-sure[mine])][: max(1, len(mine) // 2)]] = True
    labels = tuple(crops.classes[i] for i in guess[keep].tolist())
    return Replay(unlabelled.x[keep, 0], unlabelled.measured[keep], labels, labels)


class Tuning:
    """Fine-tuning of draws, judged on the test images."""

    def __init__(
        self, model: Model, scan: Scan, trunk: Trunk, test: Gallery, draws: int, once: bool
    ) -> None:
        from pi10_classifier.training.finetuning.tune import tune

        self.model, self.scan, self.trunk, self.draws, self.tune = model, scan, trunk, draws, tune
        self.test, self.once = test, once
        self.pixels = read_pixels(model, scan, test.samples, test.classes) if draws else None

    def judge(self, crops: Gallery, best: Best, replay: Replay | None) -> dict[str, Any]:
        if self.pixels is None:
            return {}
        if self.once:
            return self.trained(crops, best, replay)
        began, wall = time.process_time(), time.monotonic()
        done = finetune(self.model, self.scan, crops, self.trunk, best, replay, None, self.tune, 0)
        seconds = {"processor": round(time.process_time() - began, 1),
                   "wall": round(time.monotonic() - wall, 1)}  # fmt: skip
        images = self.pixels.images
        x = done.trunk.run(images[i : i + PIECE] for i in range(0, len(images), PIECE))
        rows = joined_rows(replace(self.test, x=x[:, None]), done.best.scale)[:, 0]
        guess = done.best.fitted.logits(rows).argmax(axis=1)
        tried = done.best.tried_as
        return {
            "finetuned": macro_f1(self.test.y, guess, len(self.test.classes)),
            "finetuned_cross_validated": tried.macro_f1,
            "finetuned_refused": not beats(tried, done.linear, crops),
            "finetuned_seconds": seconds,
        }

    def trained(self, crops: Gallery, best: Best, replay: Replay | None) -> dict[str, Any]:
        """One training on all crops, without those that hold crops out."""
        settings = Settings(**best.tried_as.settings)
        pixels = read_pixels(self.model, self.scan, crops.samples, crops.classes)
        everything = np.arange(len(crops.y))
        fit = fit_of(pixels, crops, everything, best.designs, settings, replay, None)
        began, wall = time.process_time(), time.monotonic()
        done = self.tune(self.trunk.graph, fit, 0)
        seconds = {"processor": round(time.process_time() - began, 1),
                   "wall": round(time.monotonic() - wall, 1)}  # fmt: skip
        images = self.pixels.images if self.pixels else np.zeros(0)
        trunk = replace(self.trunk, graph=done.graph)
        x = trunk.run(images[i : i + PIECE] for i in range(0, len(images), PIECE))
        rows = joined_rows(replace(self.test, x=x[:, None]), best.scale)[:, 0]
        guess = (rows @ done.weight + done.bias).argmax(axis=1)
        reached = macro_f1(self.test.y, guess, len(self.test.classes))
        return {"finetuned": reached, "finetuned_seconds": seconds}


def some(samples: Sequence[Sample], count: int) -> list[Sample]:
    """``count`` samples at random, or all."""
    order = np.random.default_rng(0).permutation(len(samples))[:count]
    return [samples[i] for i in sorted(order.tolist())]


def features(
    model: Model, trunk: Trunk, scan: Scan, samples: Sequence[Sample], views: int = VIEWS
) -> Gallery:
    """All eight views of many samples, which a gallery of this size would not get."""
    parts = [
        compute_features(model, trunk, scan, samples[i : i + PIECE], views)
        for i in range(0, len(samples), PIECE)
    ]
    seen = [s for part in parts for s in part.samples]
    classes = tuple(sorted({s.group for s in seen}))
    return Gallery(
        np.concatenate([part.x for part in parts]),
        np.array([classes.index(s.group) for s in seen], np.int64),
        classes,
        particles(seen),
        np.concatenate([part.measured for part in parts]),
        tuple(seen),
    )


def judged(
    known: Sequence[str],
    own: OwnHead | None,
    replay: Replay | None,
    crops: Gallery,
    test: Gallery,
    draws: Mapping[tuple[int, int], Sequence[Sample]],
    heads: str,
    tuning: Tuning,
    unlabelled: Gallery | None,
) -> list[dict[str, Any]]:
    """A row for each draw. heads: of the former procedure, all, linear or none."""
    rows: list[dict[str, Any]] = []
    k = len(test.classes)
    for (labels, draw), samples in draws.items():
        gallery = of(crops, samples)
        began = time.process_time()
        best = best_head(gallery, replay and replay.of(gallery.classes), own)
        seconds = time.process_time() - began
        guess = best.fitted.logits(joined_rows(test, best.scale)[:, 0]).argmax(axis=1)
        row = {"labels": labels, "draw": draw, "macro_f1": macro_f1(test.y, guess, k),
               "cross_validated": best.tried_as.macro_f1, "settings": dict(best.tried_as.settings),
               "seconds": round(seconds, 1)}  # fmt: skip
        if own and set(gallery.classes) == set(known) and own.weight.shape[1] == len(known):
            answers = own.logits(gallery.x[:, 0]).argmax(axis=1)
            said = np.array([gallery.classes.index(known[i]) for i in answers.tolist()])
            after = best.tried_as.logits.argmax(axis=1)
            told = paired(gallery.y, said, after, gallery.particle, gallery.classes)
            row["kept"] = not told.better
        if heads != "none":
            name, logits = former(gallery, test, heads == "linear")
            row |= {"former": macro_f1(test.y, logits.argmax(axis=1), k), "former_head": name}
        if unlabelled is not None:
            semi = best_head(gallery, surest(best, gallery, unlabelled), own)
            guess = semi.fitted.logits(joined_rows(test, semi.scale)[:, 0]).argmax(axis=1)
            row |= {"self_trained": macro_f1(test.y, guess, k),
                    "self_trained_settings": dict(semi.tried_as.settings)}  # fmt: skip
        if draw < tuning.draws:
            row |= tuning.judge(gallery, best, replay and replay.of(gallery.classes))
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapt", description=__doc__)
    parser.add_argument("model", help="package trained without the source")
    parser.add_argument("inputs", nargs="+", type=Path, help="the labelled data")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--source", help="the source left out of training; default all")
    parser.add_argument("--from", dest="split", default="train", choices=("train", "validation"))
    parser.add_argument("--labels", default="5,20,50", help="crops a class; default 5,20,50")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--replay", type=Path, help="file of `pi10 export replay`")
    parser.add_argument("--former", default="all", choices=("all", "linear", "none"),
                        help="heads that the former procedure tries")  # fmt: skip
    parser.add_argument("--finetune", type=int, default=0, help="draws to fine-tune; default 0")
    parser.add_argument("--once", action="store_true",
                        help="fine-tune on all crops only, without held-out ones")  # fmt: skip
    parser.add_argument("--unlabelled", type=int, default=0, help="particles for self-training")
    parser.add_argument("--test", type=int, default=0, help="test images to judge on; default all")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    model = Model.load(find(options.model))
    trained = [row["name"] for row in model.package.description["training"].get("data", [])]
    if options.split == "train" and (options.source is None or options.source in trained):
        parser.error(f"{options.model} was trained on {options.source or 'these'}; draw --from"
                     " validation")  # fmt: skip
    scan = load_labelled(options.inputs, None, options.manifest)
    mine = [s for s in scan.samples if options.source in (None, s.source)]
    pool, tested = ([s for s in mine if s.split == part] for part in (options.split, "test"))
    graph = read_package(model.package.folder)[1]
    trunk = cut(model.package, graph)
    if options.test:
        tested = some(tested, options.test)
    replay = read_replay(options.replay, trunk) if options.replay else None
    numbers = [int(n) for n in options.labels.split(",")]
    draws = {(n, d): drawn(pool, n, (n, d)) for n in numbers for d in range(options.draws)}
    wanted = {(s.source, s.member): s for part in draws.values() for s in part}
    before = score(model, scan, tested)
    truth = before.truth(model.package.classes)
    figures = figures_of(truth, before.probabilities, model.package.classes)
    test = features(model, trunk, scan, tested, views=1)
    unlabelled = None
    if options.unlabelled:
        free = [s for s in pool if (s.source, s.member) not in wanted]
        unlabelled = features(model, trunk, scan, some(free, options.unlabelled), views=1)
    rows = judged(
        model.package.classes,
        own_head(model.package, graph, trunk),
        replay,
        features(model, trunk, scan, list(wanted.values())),
        test,
        draws,
        options.former,
        Tuning(model, scan, trunk, test, options.finetune, options.once),
        unlabelled,
    )
    show(options.source or "all sources", figures, rows)
    if options.json:
        options.json.write_text(json.dumps({"before": figures, "adapted": rows}, indent=1))


def show(source: str, before: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """A row for no label, then one for each number of labels: mean, standard deviation, range."""
    f1 = before["macro_f1"]
    table = Table(title=f"macro-F1 on {before['n']:,} test images of {source};"
                        f" {os.cpu_count()} cores")  # fmt: skip
    for name in ("labels a class", "adapt", "cross-validated", "model kept", "served", "former",
                 "processor s", "self-trained", "fine-tuned", "refused",
                 "its processor s"):  # fmt: skip
        table.add_column(name)
    table.add_row("0 (as it is)", f"{f1['value']:.3f} ({f1['low']:.3f}-{f1['high']:.3f})")
    for labels in dict.fromkeys(row["labels"] for row in rows):
        mine = [row for row in rows if row["labels"] == labels]
        # what a user has: the model as it is where the head was refused
        served = [f1["value"] if row.get("kept") else row["macro_f1"] for row in mine]
        table.add_row(
            str(labels),
            spread([row["macro_f1"] for row in mine]),
            spread([row["cross_validated"] for row in mine]),
            f"{sum(row.get('kept', False) for row in mine)} of {len(mine)}",
            spread(served),
            spread([row["former"] for row in mine if "former" in row]),
            f"{statistics.median(row['seconds'] for row in mine):.1f}",
            spread([row["self_trained"] for row in mine if "self_trained" in row]),
            *of_tuned([row for row in mine if "finetuned" in row]),
        )
    Console(width=200).print(table)


def of_tuned(rows: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """Macro-F1 of the fine-tuned draws, beside the linear head on them; refused; seconds."""
    if not rows:
        return "", "", ""
    tuned, linear = (spread([row[name] for row in rows]) for name in ("finetuned", "macro_f1"))
    figures = f"{tuned}; linear {linear}"
    told = [row["finetuned_refused"] for row in rows if "finetuned_refused" in row]
    refused = f"{sum(told)} of {len(told)}" if told else ""
    seconds = statistics.median(row["finetuned_seconds"]["processor"] for row in rows)
    return figures, refused, f"{seconds:.0f}"


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation and range."""
    if not values:
        return ""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} sd {sd:.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()
