"""What labels of a survey do for a model: a survey of real crops with known truth, end to end.

    python -m benchmarks.labels --data ../shared/data --manifest data/manifest.csv --out DIR

manifest.csv: of `pi10 dataset planktonset1.tar pwssc.tar`. The crops of its test part, which no
embedded model was trained on, and a tenth of the sets' "other", which people call artefacts here,
become bins of the instrument with hits and misses of a real survey. Half of the bins, drawn at
random, are the survey that is labelled by the truth; the others judge what came of it.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.discovery import entries, find_origins
from pi10_classifier.datasets.manifest import read_manifest
from pi10_classifier.datasets.scan import read_rgb, reopen
from pi10_classifier.imaging.decode import decode
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.sample import read_sample
from pi10_classifier.labelling.suggestions import read_suggestions
from pi10_classifier.simulate import encode_tiff

IMAGES = 500  # of one bin
START = datetime(2024, 5, 16, 10, 0, tzinfo=UTC)
FACTOR = 10.0  # the largest raising factor: above, misses are no particles (statistics.md)
CLASSES = ("copepod", "detritus", "noncopepod")


def crops(data: Path, manifest: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Label and pixels of each crop: the test part, and every tenth of "other"."""
    tars = [data / "planktonset1.tar", data / "pwssc.tar"]
    samples = [s for s in read_manifest(manifest.read_text("utf-8")) if s.split == "test"]
    for sample, rgb in read_rgb(reopen(samples, tars), samples):
        yield sample.group, rgb
    number = 0
    for source, path in find_origins(tars).items():
        for entry in entries(source, path):
            if entry.label.startswith("other") and entry.data:
                number += 1
                if number % 10 == 0:
                    yield "artefact", decode(entry.data).rgb


def minutes(data: Path) -> list[tuple[int, int]]:
    """Hits and misses of real minutes that may be raised."""
    with (data / "hits_misses_cend0824.csv").open() as stream:
        rows = [(int(row["hits"]), int(row["misses"])) for row in csv.DictReader(stream)]
    return [(h, m) for h, m in rows if h and (h + m) / h <= FACTOR]


def write_bins(data: Path, manifest: Path, out: Path, rng: np.random.Generator) -> dict[str, str]:
    """The bins in ``out/labelled`` and ``out/judging``; particle_id -> label."""
    found = list(crops(data, manifest))
    real = minutes(data)
    order = rng.permutation(len(found)).tolist()
    truth: dict[str, str] = {}
    blocks = [order[n : n + IMAGES] for n in range(0, len(order), IMAGES)]
    sides = rng.permutation(["labelled", "judging"] * len(blocks))[: len(blocks)]
    for number, (block, side) in enumerate(zip(blocks, sides.tolist(), strict=True)):
        start = START + timedelta(minutes=10 * number)
        folder = out / side / f"{start:%H%M}"
        folder.mkdir(parents=True)
        lines = [0] * 10
        for place, image in enumerate(block):
            when = start + timedelta(seconds=599 * place / len(block))
            lines[(when - start).seconds // 60] += 1
            label, rgb = found[image]
            name = f"pia7.{start:%Y-%m-%d.%H%M}+N{place:08d}"
            (folder / f"{name}.tif").write_bytes(encode_tiff(rgb, when, 50.0, -4.0))
            truth[name] = label
        factors = [real[n] for n in rng.integers(0, len(real), 10)]
        text = "".join(
            f"{hits},{round(hits * m / h)}\n" for hits, (h, m) in zip(lines, factors, strict=True)
        )
        (folder / "HitsMisses.txt").write_text(text)
    return truth


def pi10_(*words: object) -> None:
    """Run a command as a person would, and show what it says."""
    print("$ pi10", *words)
    done = CliRunner().invoke(pi10, [str(word) for word in words])
    print(done.output)
    if done.exit_code not in (0, 3):
        raise SystemExit(f"exit code {done.exit_code}: {done.exception}")


def accuracy(run: Path, truth: dict[str, str]) -> tuple[float, float, np.ndarray]:
    """Share called rightly, of particles in the water and of images; macro-F1 by water."""
    tables = [pq.read_table(path) for path in sorted((run / "predictions.parquet").glob("*"))]
    rows = [row for table in tables for row in table.to_pylist()]
    factor = np.array([row["raising_factor"] or 0.0 for row in rows])
    called = np.array([row["label"] for row in rows])
    true = np.array([truth[row["particle_id"]] for row in rows])
    f1 = [
        2 * factor[(called == c) & (true == c)].sum()
        / (factor[called == c].sum() + factor[true == c].sum())
        for c in CLASSES
    ]  # fmt: skip
    right = called == true
    return float(factor[right].sum() / factor.sum()), float(right.mean()), np.array(f1)


def label(run: Path, truth: dict[str, str]) -> None:
    """Label the sample and the suggestions by the truth."""
    wanted = [*read_sample(run), *read_suggestions(run)]
    store = LabelStore(run, CLASSES)
    store.add([(one.particle_id, truth[one.particle_id]) for one in wanted], "truth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--suggest", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    out: Path = given.out
    truth = write_bins(given.data, given.manifest, out, np.random.default_rng(given.seed))
    survey, adapted = out / "survey", out / "adapted"
    pi10_("classify", out / "labelled", "--out", survey, "--model", given.model)
    pi10_("validate", "draw", survey, "--n", given.n)
    label(survey, truth)
    pi10_("evaluate", "--model", given.model, "--data", survey, "--out", out / "judged")
    water, images, _ = accuracy(survey, truth)
    print(f"truth: right for {water:.3f} of the particles in the water, {images:.3f} of images\n")
    wish = ("--precision", "0.95", "--confidence", "0.95")
    pi10_("calibrate", "--model", given.model, "--data", survey, *wish, "--out", out / "sure")
    pi10_("validate", "suggest", survey, "--n", given.suggest)
    label(survey, truth)
    pi10_("adapt", "--anyway", "--model", given.model, "--gallery", survey, "--out", adapted)
    rules = out / "map.csv"
    rules.write_text("label,class\n" + "".join(f"{c},{c}\n" for c in (*CLASSES, "artefact")))
    four = out / "with-artefacts"
    pi10_("adapt", "--model", given.model, "--gallery", survey, "--label-map", rules, "--out", four)
    for model in (given.model, adapted, four):
        run = out / f"judging-{Path(str(model)).name}"
        pi10_("classify", out / "judging", "--out", run, "--model", model)
        water, images, f1 = accuracy(run, truth)
        print(
            f"{model} on bins without labels: right for {water:.3f} of the particles in the water,"
            f" {images:.3f} of images, macro-F1 {f1.mean():.3f}\n"
        )
    again = out / "survey-again"
    pi10_("classify", out / "labelled", "--out", again, "--model", adapted)
    pi10_("validate", "draw", again, "--n", given.n)


if __name__ == "__main__":
    main()
