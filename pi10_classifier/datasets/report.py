"""Writes the report on a data set before training: figures as JSON, and an HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pi10_classifier.datasets.croissant import CROISSANT, About, croissant
from pi10_classifier.datasets.records import LabelUse, left_out_csv
from pi10_classifier.datasets.scan import Sample, Scan, read_rgb
from pi10_classifier.datasets.split import SPLITS, counts, leaks, manifest
from pi10_classifier.errors import Code, SettingError, output_error
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.report import figures
from pi10_classifier.report.page import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

U8 = NDArray[np.uint8]

MANIFEST, LEFT_OUT, FACTS, PAGE = "manifest.csv", "left_out.csv", "dataset.json", "dataset.html"
SHEET_COLUMNS, SHEET_ROWS = 10, 3
TILE = 96  # px
TWINS_SHOWN, TWINS_TOGETHER = 12, 8
LISTED = 100
_FRAME = (241, 239, 236)
_QUANTILES = {"smallest": 0, "q05": 0.05, "median": 0.5, "q95": 0.95, "largest": 1}


def facts(scan: Scan, samples: Sequence[Sample], seed: int) -> dict[str, Any]:
    """All figures of the report; ``samples`` is the split of ``scan``. Ready for JSON."""
    classes = list(scan.classes)
    table = counts(samples, classes)
    totals = {name: sum(table[part][name] for part in SPLITS) for name in classes}
    sources = {}
    for source, path in scan.origins.items():
        of_source = [s for s in samples if s.source == source]
        sources[source] = {
            "path": str(path),
            "images": len(of_source),
            "counts": counts(of_source, classes),
            "left_out": sum(x.source == source for x in scan.left_out),
        }
    labels = Counter((s.source, s.label, s.group) for s in samples)
    return {
        "format": 1,
        "images": len(samples),
        "classes": classes,
        "counts": table,
        "totals": totals,
        "imbalance_ratio": round(imbalance(list(totals.values())), 3),
        "imbalance_ratio_train": round(imbalance([table["train"][x] for x in classes]), 3),
        "sources": sources,
        "labels": [
            {"source": source, "label": label, "class": group, "images": n}
            for (source, label, group), n in sorted(labels.items())
        ],
        "taxa": [_label_use(use) for use in scan.taxa],
        "longest_side_px": {x: _sizes([s for s in samples if s.group == x]) for x in classes},
        "bins": len({s.bin for s in samples if s.bin}),
        "images_with_bin": sum(bool(s.bin) for s in samples),
        "duplicates": _duplicates(samples),
        "leaks": [{"kind": kind, "key": key, "splits": list(x)} for kind, key, x in leaks(samples)],
        "left_out": dict(sorted(Counter(x.code for x in scan.left_out).items())),
        "label_map_unused": list(scan.unused_rules),
        "split_seed": seed,
        "manifest_sha256": hashlib.sha256(manifest(samples).encode()).hexdigest(),
    }


def _label_use(use: LabelUse) -> dict[str, str | int]:
    return {"class" if name == "group" else name: value for name, value in asdict(use).items()}


def _sizes(samples: Iterable[Sample]) -> dict[str, float]:
    sides = [max(s.width, s.height) for s in samples]
    return {name: round(float(np.quantile(sides, q)), 1) for name, q in _QUANTILES.items()}


def _duplicates(samples: Sequence[Sample]) -> dict[str, Any]:
    groups = _clusters(samples)
    exact = Counter(s.sha256 for s in samples)
    near = {name: g for name, g in groups.items() if len({s.sha256 for s in g}) > 1}
    two = [g for g in near.values() if len({s.group for s in g}) > 1]
    return {
        "images": sum(map(len, groups.values())),
        "exact_groups": sum(n > 1 for n in exact.values()),
        "exact_images": sum(n for n in exact.values() if n > 1),
        "near_groups": len(near),
        "near_images": sum(map(len, near.values())),
        "largest_group": max(map(len, groups.values()), default=0),
        "under_two_classes": [
            [{"source": s.source, "member": s.member, "class": s.group} for s in g] for g in two
        ],
    }


def _clusters(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    clusters: dict[str, list[Sample]] = defaultdict(list)
    for s in samples:
        if s.cluster:
            clusters[s.cluster].append(s)
    return dict(sorted(clusters.items(), key=lambda x: (-len(x[1]), x[0])))


def write_dataset(
    scan: Scan, samples: Sequence[Sample], out: Path, seed: int = 0, about: About | None = None
) -> Path:
    """Write manifest.csv and the files that tell of it; return the page's path.

    about: what croissant.json tells beside the images; named after the sources if None.

    The same scan and split give the same bytes. Raises SettingError where the extra
    ``report`` is missing, OutputError where a file cannot be written.
    """
    pages = environment()
    summary = facts(scan, samples, seed)
    pictures = _pictures(scan, samples)
    colour = figures.colours(scan.classes)
    page = pages.get_template("dataset.html.j2").render(
        facts=summary,
        splits=SPLITS,
        colour=colour,
        sheets=pictures["sheets"],
        twins=pictures["twins"],
        histogram=_svg(_size_figure(samples, scan.classes, colour)),
        meanings={code.value: code.meaning for code in Code},
        examples={
            code: [x for x in scan.left_out if x.code == code][:5] for code in summary["left_out"]
        },
        listed=LISTED,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, out) from error
    write_atomically(out / LEFT_OUT, left_out_csv(scan.left_out).encode("utf-8", "replace"))
    write_atomically(out / FACTS, (json.dumps(summary, indent=1) + "\n").encode())
    write_atomically(out / PAGE, page.encode("utf-8", "replace"))
    listed = manifest(samples)
    described = croissant(samples, listed, about or About(_name(scan)))
    write_atomically(out / CROISSANT, described.encode("utf-8", "replace"))
    # the manifest last: if it exists, the other files do too
    write_atomically(out / MANIFEST, listed.encode("utf-8"))
    return out / PAGE


def _name(scan: Scan) -> str:
    names = list(scan.origins)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _pictures(scan: Scan, samples: Sequence[Sample]) -> dict[str, Any]:
    """The contact sheet of each class, and duplicates that are in two classes."""
    chosen = {name: _spread(samples, name) for name in scan.classes}
    groups = [g for g in _clusters(samples).values() if len({s.group for s in g}) > 1]
    twins = [g[:TWINS_TOGETHER] for g in groups[:TWINS_SHOWN]]
    wanted = {(s.source, s.member): s for g in (*chosen.values(), *twins) for s in g}
    tiles = {(s.source, s.member): tile(rgb) for s, rgb in read_rgb(scan, wanted.values())}
    return {
        "sheets": {
            name: _jpeg(sheet([tiles[s.source, s.member] for s in some]))
            for name, some in chosen.items()
        },
        "twins": [[(s, _jpeg(tiles[s.source, s.member])) for s in g] for g in twins],
    }


def _spread(samples: Sequence[Sample], name: str) -> list[Sample]:
    """Choose a class's images for its contact sheet: from each source in turn, in hash order."""
    queues: dict[str, list[Sample]] = defaultdict(list)
    for s in sorted((s for s in samples if s.group == name), key=lambda s: (s.sha256, s.member)):
        queues[s.source].append(s)
    count = SHEET_COLUMNS * SHEET_ROWS
    turns = [(turn, source) for source, x in queues.items() for turn in range(min(len(x), count))]
    return [queues[source][turn] for turn, source in sorted(turns)[:count]]


def tile(rgb: U8) -> U8:
    """Centre an image in a (TILE, TILE, 3) frame; it is shrunk to fit, but never enlarged."""
    scale = min(1.0, (TILE - 4) / max(rgb.shape[:2]))
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    frame: U8 = np.full((TILE, TILE, 3), _FRAME, np.uint8)
    top, left = (TILE - height) // 2, (TILE - width) // 2
    frame[top : top + height, left : left + width] = small
    return frame


def sheet(tiles: Sequence[U8]) -> U8:
    """Arrange tiles in rows of SHEET_COLUMNS; empty tiles fill the last row."""
    blank: U8 = np.full((TILE, TILE, 3), _FRAME, np.uint8)
    columns = min(SHEET_COLUMNS, max(1, len(tiles)))
    filled = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(filled[i : i + columns]) for i in range(0, len(filled), columns)]
    return np.vstack(rows)


def _jpeg(rgb: U8) -> str:
    coded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def _svg(drawing: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(drawing).decode()


def _size_figure(
    samples: Sequence[Sample], classes: Sequence[str], colour: Mapping[str, str]
) -> bytes:
    """Share of each class's images per size class: the eight most frequent classes."""
    sides = {name: [max(s.width, s.height) for s in samples if s.group == name] for name in classes}
    often = sorted(classes, key=lambda x: (-len(sides[x]), x))[: figures.MAX_PANELS]
    every = np.concatenate([np.asarray(x) for x in sides.values()])
    edges = np.geomspace(max(1, every.min()) * 0.99, every.max() * 1.01, 31)

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes = figure.subplots()
        for name in often:
            share = 100 * np.histogram(sides[name], edges)[0] / len(sides[name])
            label = figures.plain(name)
            axes.stairs(share, edges, color=colour[name], linewidth=1.4, label=label)
            axes.stairs(share, edges, color=colour[name], fill=True, alpha=0.08)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=30))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("longest side, px (logarithmic)")
        axes.set_ylabel("% of the class's images")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8.5)

    return figures.draw(3.2, paint)


def imbalance(counts: ArrayLike) -> float:
    """The imbalance ratio gamma: images of the largest class divided by those of the smallest."""
    sizes = np.asarray(counts, np.float64)
    if not sizes.size or not (sizes > 0).all():
        raise SettingError("an imbalance ratio needs at least one image of every class")
    return float(sizes.max() / sizes.min())
