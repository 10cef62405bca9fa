"""The HTML report: one self-contained page about what a run wrote.

Everything is read as a stream and kept as sums, histograms and a thinned
track, so the page of a hundred million images needs no more memory than that
of a thousand. The same files give the same bytes. Needs the extra ``report``.
"""

from __future__ import annotations

import base64
import csv
import heapq
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pi10_classifier import figures
from pi10_classifier.errors import Code, ExitCode, SettingError, output_error
from pi10_classifier.figures import Floats, Ints, Series, parse_number, split_flags

GALLERY_SIZE = 12
EXAMPLES_PER_CODE = 5
MAX_MINUTES = 400  # beyond that, density is drawn per bin
MAX_POINTS = 800  # beyond that, per hour, six hours, day, week
MAX_POSITIONS = 20_000
MAX_KEPT_NAMES = 1000
MAX_PICTURE_CHARS = 400_000
_SIZE_LOW, _SIZE_DECADES, _PER_DECADE = 1.0, 4, 100  # 10 µm to 10 cm
_SIZE_BINS = _SIZE_DECADES * _PER_DECADE
_DRAWN_TOGETHER = 5  # fine size classes per drawn one: 20 a decade
_TOTALS = ("inputs", "results", "failures", "skipped")
_ORDERS: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {
    "highest": lambda x: (-x["score"], x["particle_id"], x["png"]),
    "lowest": lambda x: (x["score"], x["particle_id"], x["png"]),
}
_EPOCH = datetime(1970, 1, 1)  # UTC, like every time here
_NO_TIME = np.iinfo(np.int64).min  # NumPy's NaT
_PNG = re.compile("iVBORw0KGgo[A-Za-z0-9+/]*={0,2}")  # the signature, in base64


@dataclass(slots=True)
class _Class:
    label: str
    images: int = 0
    score_sum: float = 0.0
    scored: int = 0
    sizes: Ints = field(default_factory=lambda: np.zeros(_SIZE_BINS, np.int64))

    def size_at(self, share: float) -> float:
        """The diameter in µm that ``share`` of the measured particles do not exceed."""
        below = np.r_[0, np.cumsum(self.sizes)]
        place = float(np.interp(share * below[-1], below, np.arange(_SIZE_BINS + 1)))
        return float(10 ** (_SIZE_LOW + place / _PER_DECADE))


@dataclass(slots=True)
class _Images:
    """Sums over the rows of ``predictions.parquet``."""

    classes: dict[str, _Class]
    rows: int = 0
    sources: set[str] = field(default_factory=set)
    instruments: set[str] = field(default_factory=set)
    flags: Counter[str] = field(default_factory=Counter)
    first: int | None = None  # seconds since 1970
    last: int | None = None
    fixes: int = 0
    stride: int = 1  # minutes between kept positions; doubles as they become too many
    track: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, batch: Any) -> None:
        self.rows += batch.num_rows
        names, codes = _codes(batch, "label")
        classes = [self.classes.setdefault(x, _Class(x)) for x in names]
        score, esd = _numbers(batch, "score"), _numbers(batch, "esd_um")
        scored = np.isfinite(score)
        sized = np.isfinite(esd) & (esd > 0)
        place = np.zeros(len(esd), np.int64)
        place[sized] = np.floor((np.log10(esd[sized]) - _SIZE_LOW) * _PER_DECADE)
        place = codes * _SIZE_BINS + np.clip(place, 0, _SIZE_BINS - 1)
        wide = len(names)
        images = np.bincount(codes, minlength=wide)
        sums = np.bincount(codes[scored], score[scored], wide)
        counted = np.bincount(codes[scored], minlength=wide)
        sizes = np.bincount(place[sized], minlength=wide * _SIZE_BINS).reshape(wide, _SIZE_BINS)
        for i, entry in enumerate(classes):
            entry.images += int(images[i])
            entry.score_sum += float(sums[i])
            entry.scored += int(counted[i])
            entry.sizes += sizes[i]
        for kept, column in ((self.sources, "source"), (self.instruments, "instrument")):
            if len(kept) <= MAX_KEPT_NAMES:
                kept.update(x for x, n in _tally(batch, column) if x)
        for text, n in _tally(batch, "flags"):
            self.flags.update(dict.fromkeys(split_flags(text), n))
        self._add_track(batch)

    def _add_track(self, batch: Any) -> None:
        seconds = _seconds(batch)
        known = seconds != _NO_TIME
        if known.any():
            first, last = int(seconds[known].min()), int(seconds[known].max())
            self.first = first if self.first is None else min(first, self.first)
            self.last = last if self.last is None else max(last, self.last)
        latitude, longitude = _numbers(batch, "latitude"), _numbers(batch, "longitude")
        fixed = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 360)  # false for NaN
        self.fixes += int(fixed.sum())
        # Images without a time share one place, before all others.
        minutes = np.where(known, seconds // 60, -1)[fixed]
        minutes, at = np.unique(minutes, return_index=True)
        for minute, i in zip(minutes.tolist(), np.flatnonzero(fixed)[at], strict=True):
            if minute % self.stride == 0 or minute < 0:
                self.track.setdefault(minute, (float(latitude[i]), float(longitude[i])))
        while len(self.track) > MAX_POSITIONS:
            self.stride *= 2
            self.track = {k: v for k, v in self.track.items() if k % self.stride == 0 or k < 0}


def _numbers(batch: Any, name: str) -> Floats:
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    column = batch.column(name).cast("float64")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _seconds(batch: Any) -> Ints:
    if "datetime" not in batch.schema.names:
        return np.full(batch.num_rows, _NO_TIME)
    times = batch.column("datetime").to_numpy(zero_copy_only=False)
    return np.asarray(times, "datetime64[s]").astype(np.int64)


def _codes(batch: Any, name: str) -> tuple[list[str], Ints]:
    """The distinct texts of a column and each row's place among them; null is ''."""
    if name not in batch.schema.names:
        return [""], np.zeros(batch.num_rows, np.int64)
    column = batch.column(name)
    if not hasattr(column, "dictionary"):
        column = column.dictionary_encode()
    names = [x or "" for x in column.dictionary.to_pylist()]
    codes = column.indices.cast("int64").fill_null(len(names)).to_numpy(zero_copy_only=False)
    used, codes = np.unique(codes, return_inverse=True)
    return [names[i] if i < len(names) else "" for i in used], np.asarray(codes, np.int64)


def _tally(batch: Any, name: str) -> list[tuple[str, int]]:
    names, codes = _codes(batch, name)
    return list(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))


def _read_images(folder: Path, labels: list[str]) -> _Images:
    import pyarrow as pa
    import pyarrow.dataset as ds

    images = _Images({x: _Class(x) for x in labels})
    parts = sorted(str(x) for x in folder.glob("*.parquet") if x.name[0] not in "._")
    texts = ["label", "source", "instrument", "flags"]
    form = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=texts))
    bounded = {"batch_size": 65_536, "batch_readahead": 2, "fragment_readahead": 1}
    try:
        if parts:
            data = ds.dataset(parts, format=form)
            wanted = {*texts, "score", "esd_um", "datetime", "latitude", "longitude"}
            columns = [x for x in data.schema.names if x in wanted]
            for batch in data.to_batches(columns=columns, **bounded):
                if batch.num_rows:
                    images.add(batch)
    except (pa.ArrowException, OSError) as error:
        raise SettingError(
            f"cannot read {folder}: {error}; remove the damaged part and classify with --resume"
        ) from error
    return images


def _table(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file as they are read; none where there is no such file."""
    if not path.exists():
        return
    csv.field_size_limit(2**31 - 1)  # member names may be long: the default stops at 128 KiB
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        yield from csv.DictReader(stream, restval="")


def _gallery(folder: Path) -> tuple[dict[str, dict[str, list[Any]]], int]:
    """The highest and lowest scores per class over all journal files, and how many were unread."""
    best: dict[str, dict[str, list[Any]]] = {}
    unread = 0
    for path in sorted(folder.glob("*.json")):
        try:
            for label, sides in json.loads(path.read_bytes()).get("gallery", {}).items():
                kept = best.setdefault(label, {"highest": [], "lowest": []})
                for side, order in _ORDERS.items():
                    every = [*kept[side], *(_thumbnail(x) for x in sides.get(side, []))]
                    kept[side] = heapq.nsmallest(GALLERY_SIZE, every, key=order)
        except (ValueError, TypeError, AttributeError, KeyError, OSError):
            unread += 1
    return best, unread


def _thumbnail(item: dict[str, Any]) -> dict[str, Any]:
    score, png = float(item["score"]), str(item.get("png") or "")
    if not math.isfinite(score):
        raise ValueError("a gallery score is not a number")
    esd = parse_number(str(item.get("esd_um")))
    png = png if len(png) <= MAX_PICTURE_CHARS and _PNG.fullmatch(png) else ""
    return {"particle_id": str(item["particle_id"]), "score": score, "esd_um": esd, "png": png}


def _failures(path: Path, run: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Code, count, meaning, the Code if known and first examples, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, str]]] = {}
    for row in _table(path):
        code = row.get("code", "")
        counts[code] += 1
        if len(examples.setdefault(code, [])) < EXAMPLES_PER_CODE:
            examples[code].append(row)
    if not path.exists():
        counts.update({str(k): int(v) for k, v in run.get("failures_by_code", {}).items()})
    found = []
    for code, count in sorted(counts.items(), key=lambda x: (-x[1], x[0])):
        known = Code(code) if code in set(Code) else None
        meaning = known.meaning if known else "This version has no description of this code."
        found.append((code, count, meaning, known, examples.get(code, [])))
    return found


def _read_run(path: Path) -> dict[str, Any]:
    try:
        run = dict(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise SettingError(
            f"{path.parent} holds no run.json, so it is no output of `pi10 classify`; "
            "name the folder given as --out"
        ) from error
    except (OSError, TypeError, ValueError) as error:
        raise SettingError(f"cannot read {path}: {error}; classify again with --resume") from error
    return run


def _shown(value: object, limit: int = 160) -> str:
    """Any text as a reader may meet it: controls and bidirectional marks escaped, cut to length."""
    text = str(value)
    cut = text[:limit] + "…" if len(text) > limit else text
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in cut)


def _amount(value: float) -> str:
    """Three significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 1000 or not value else f"{value:#.3g}".rstrip(".")


def _flat(settings: object, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(settings, dict) and settings:
        nested = (_flat(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in settings.items())
        return [x for part in nested for x in part]
    if isinstance(settings, list) and settings:
        return [(prefix, ", ".join(text for x in settings for _, text in _flat(x, "-")))]
    text = settings if isinstance(settings, str) else json.dumps(settings, ensure_ascii=False)
    return [(prefix, text)] if prefix else []


def _model_card(package: Path | None) -> str:
    """The package's README.md as HTML: no raw HTML, no pictures, headings under the page's own."""
    path = package / "README.md" if package else None
    if path is None or not path.is_file():
        return ""
    from markdown_it import MarkdownIt

    text = path.read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"\A---\n(.*?\n)---\n", r"```yaml\n\1```\n", text, flags=re.DOTALL)
    card = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = card.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        for inner in token.children or ():
            if inner.type == "link_open":
                target = str(inner.attrs.pop("href", ""))
                if target.startswith(("https://", "http://")):
                    inner.attrs |= {"href": target, "rel": "noopener noreferrer"}
            elif inner.type == "image":
                inner.type = "text"  # its alternative text alone
    return str(card.renderer.render(tokens, card.options, {}))


def _picture(drawing: bytes, alt: str) -> dict[str, str]:
    return {"uri": "data:image/svg+xml;base64," + base64.b64encode(drawing).decode(), "alt": alt}


def _pictures(images: _Images, minutes: Series, series: Series) -> dict[str, Any]:
    """The figures; None where there is nothing to draw."""
    colour = figures.colours(list(images.classes))
    found = sorted((x for x in images.classes.values() if x.images), key=lambda x: -x.images)
    drawn = {x.label for x in found[: figures.MAX_PANELS]}
    labels = [x for x in images.classes if x in drawn]
    pictures: dict[str, Any] = dict.fromkeys(("time", "sizes", "track"))
    named = ", ".join(_shown(x, 40) for x in labels)
    if labels and series.litres:
        density = any(series.litres.values())
        unit = "individuals per litre" if density else f"images per {series.step_name}"
        curves = {x: series.curve(x, density) for x in labels}
        drawing = figures.time_figure(curves, series.step, unit, colour)
        pictures["time"] = _picture(drawing, f"Line charts of {unit} over time, for {named}.")
    histogram = np.array([images.classes[x].sizes for x in labels]).reshape(-1, _SIZE_BINS)
    if histogram.any():
        histogram = histogram.reshape(len(labels), -1, _DRAWN_TOGETHER).sum(axis=2)
        edges = 10 ** np.linspace(_SIZE_LOW, _SIZE_LOW + _SIZE_DECADES, histogram.shape[1] + 1)
        drawing = figures.size_figure(labels, edges, histogram, colour)
        alt = f"Step charts of equivalent spherical diameter for {named}: images, then shares."
        pictures["sizes"] = _picture(drawing, alt)
    if images.track:
        at = np.array(sorted(images.track), np.int64)
        north, east = np.array([images.track[x] for x in at.tolist()]).T
        drawing = figures.track_figure(at, north, east, minutes.density(at))
        alt = f"Map of {len(at):,} positions, latitude {north.min():.3f}° to {north.max():.3f}°."
        pictures["track"] = _picture(drawing, alt)
    return pictures


def write_report(out: Path, package: Path | None = None) -> Path:
    """Write ``out/report.html`` from what a run left in ``out``, and return its path.

    ``package`` is the model package whose README.md is shown as the model card.
    Raises :class:`SettingError` where matplotlib or jinja2 is missing or ``out``
    is not a run's folder, :class:`OutputError` where the page cannot be written.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401  (met here, before any work is done)
    except ImportError as error:
        raise SettingError(
            f"the report needs {error.name}, which is not installed; "
            'run: pip install "pi10-classifier[report]"'
        ) from error
    run = _read_run(out / "run.json")
    totals = {x: int(run.get("totals", {}).get(x, 0)) for x in _TOTALS}
    model = run.get("model") or {}
    images = _read_images(out / "predictions.parquet", [str(x) for x in model.get("classes", [])])
    minutes, bins = Series(MAX_MINUTES), Series(MAX_POINTS, level=1)
    for row in _table(out / "counts.csv"):
        minutes.add(row, "minute")
    for row in _table(out / "bins.csv"):
        bins.add(row, "start")
    series = bins if minutes.level and bins.rows else minutes
    gallery, unread = _gallery(out / "journal")
    failures = _failures(out / "failures.csv", run)
    inputs = run.get("parameters", {}).get("inputs") or sorted(images.sources)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pi10_classifier"), autoescape=True, trim_blocks=True
    )
    environment.undefined = jinja2.StrictUndefined
    environment.filters.update(shown=_shown, amount=_amount, number=lambda x: f"{x:,}")
    span = [_EPOCH + timedelta(seconds=x) for x in (images.first, images.last) if x is not None]
    labels = list(images.classes)
    tables = {"images": images, "minutes": minutes, "bins": bins, "series": series}
    found = {"gallery": gallery, "unread": unread, "failures": failures, "span": span}
    page = environment.get_template("report.html.j2").render(
        {"run": run, "totals": totals, "model": model, **tables, **found},
        missing=2 * totals["inputs"] - sum(totals.values()),
        exit_code=_exit_code(run, totals),
        inputs=[inputs] if isinstance(inputs, str) else list(inputs),
        means={x: minutes.mean(x) for x in labels},
        colour=figures.colours(labels),
        pictures=_pictures(images, minutes, series),
        panels=figures.MAX_PANELS,
        flags=sorted({*images.flags, *minutes.flags, *bins.flags}),
        parameters=_flat(run.get("parameters")),
        versions=_flat(run.get("versions")),
        card=_model_card(package),
    )
    return _publish(out / "report.html", page.encode("utf-8", "replace"))


def _exit_code(run: dict[str, Any], totals: dict[str, int]) -> ExitCode:
    if not run.get("complete", True):
        return ExitCode.INTERRUPTED
    if not totals["results"]:
        return ExitCode.NOTHING_READ
    return ExitCode.SOME_FAILED if totals["failures"] else ExitCode.OK


def _publish(path: Path, page: bytes) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(page)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise output_error(error, path) from error
    return path
