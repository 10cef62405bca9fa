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
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pi10_classifier.errors import Code, ExitCode, SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.model.front_matter import licence_of, without_front_matter
from pi10_classifier.model.package import installed_with
from pi10_classifier.report import figures
from pi10_classifier.report.density_series import Series, parse_number
from pi10_classifier.report.drift import Drift
from pi10_classifier.report.flag_meanings import meaning_of
from pi10_classifier.report.particle_stats import ImageSums, read_images
from pi10_classifier.report.spectrum import Spectra, Spectrum
from pi10_classifier.report.unlike import COLUMN, UnlikeTraining
from pi10_classifier.report.validation import (
    MAX_DRAWN,
    Validation,
    densities_figure,
    read_validation,
)
from pi10_classifier.sizes.tables import LIVING

if TYPE_CHECKING:
    import jinja2

GALLERY_SIZE = 12
EXAMPLES_PER_CODE = 5
MAX_MINUTES = 400  # beyond that, density is drawn per bin
MAX_POINTS = 800  # beyond that, per hour, six hours, day, week
MAX_PICTURE_CHARS = 400_000
_TOTALS = ("inputs", "results", "failures", "skipped")
_ORDERS: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {
    "highest": lambda x: (-x["score"], x["particle_id"], x["png"]),
    "lowest": lambda x: (x["score"], x["particle_id"], x["png"]),
}
_EPOCH = datetime(1970, 1, 1)  # UTC, like every time here
_PNG = re.compile("iVBORw0KGgo[A-Za-z0-9+/]*={0,2}")  # the signature, in base64


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


def shown(value: object, limit: int = 160) -> str:
    """Any text as a reader may meet it: controls and bidirectional marks escaped, cut to length."""
    text = str(value)
    cut = text[:limit] + "…" if len(text) > limit else text
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in cut)


def amount(value: float) -> str:
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
    """The text of the package's README.md; empty where there is none."""
    path = package / "README.md" if package else None
    if path is None or not path.is_file():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _as_html(text: str) -> str:
    """A model card as HTML: no raw HTML, no pictures, headings under the page's own.

    Its head is for programs; the page tells the licence of it.
    """
    if not text:
        return ""
    from markdown_it import MarkdownIt

    card = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = card.parse(without_front_matter(text))
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


def _pictures(
    images: ImageSums, minutes: Series, series: Series, spectra: dict[str, Spectrum]
) -> dict[str, Any]:
    """The figures; None where there is nothing to draw.

    A single moment or position is told in words: it makes no line, and to draw it would take longer
    than to classify its image.
    """
    colour = figures.colours(list(images.classes))
    found = sorted((x for x in images.classes.values() if x.images), key=lambda x: -x.images)
    drawn = {x.label for x in found[: figures.MAX_PANELS]}
    labels = [x for x in images.classes if x in drawn]
    pictures: dict[str, Any] = dict.fromkeys(("time", "sizes", "track"))
    named = ", ".join(shown(x, 40) for x in labels)
    if labels and series.litres:
        density = any(series.litres.values())
        unit = "individuals per litre" if density else f"images per {series.step_name}"
        every = {x: series.curve(x, density) for x in labels}
        curves = {x: curve for x, curve in every.items() if curve.size}
    if labels and series.litres and len({x for curve in curves.values() for x in curve[0]}) > 1:
        drawing = figures.time_figure(curves, series.step, unit, colour)
        pictures["time"] = _picture(drawing, f"Line charts of {unit} over time, for {named}.")
    shown_spectra = {x: its for x, its in spectra.items() if x in drawn or x not in images.classes}
    if shown_spectra:
        drawing = figures.spectrum_figure(shown_spectra, colour)
        alt = f"Normalised biovolume over equivalent spherical diameter, for {named}."
        pictures["sizes"] = _picture(drawing, alt)
    if len(images.track) > 1:
        at = np.array(sorted(images.track), np.int64)
        north, east = np.array([images.track[x] for x in at.tolist()]).T
        drawing = figures.track_figure(at, north, east, minutes.density(at))
        alt = f"Map of {len(at):,} positions, latitude {north.min():.3f}° to {north.max():.3f}°."
        pictures["track"] = _picture(drawing, alt)
    return pictures


def _corrected_picture(validation: Validation, colour: dict[str, str]) -> dict[str, str] | None:
    drawn = [x for x in validation.rows if x.corrected][:MAX_DRAWN]
    if not drawn:
        return None
    named = ", ".join(shown(f"{x.stratum} {x.label}", 40) for x in drawn)
    return _picture(
        densities_figure(drawn, colour),
        f"Corrected densities with 95 % intervals beside the plain ones, for {named}.",
    )


def environment() -> jinja2.Environment:
    """What renders the pages of ``templates/``: all that is put in is escaped.

    Raises SettingError where matplotlib or jinja2 is missing.
    """
    try:
        import jinja2

        if find_spec("matplotlib") is None:  # met here, before any work is done
            raise ModuleNotFoundError(name="matplotlib")
    except ImportError as error:
        raise SettingError(
            f"the report needs {error.name}, which is not installed; "
            f"run: {install_command('report')}"
        ) from error
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("pi10_classifier.report"), autoescape=True, trim_blocks=True
    )
    pages.undefined = jinja2.StrictUndefined
    pages.filters.update(shown=shown, amount=amount, meaning=meaning_of, number=lambda x: f"{x:,}")
    return pages


def write_report(out: Path, package: Path | None = None) -> Path:
    """Write ``out/report.html`` from what a run left in ``out``, and return its path.

    ``package`` is the model package whose README.md is shown as the model card; if None, the one
    that ships with the program, where the run is of such a one.
    Raises :class:`SettingError` where matplotlib or jinja2 is missing or ``out``
    is not a run's folder, :class:`OutputError` where the page cannot be written.
    """
    pages = environment()
    run = _read_run(out / "run.json")
    totals = {x: int(run.get("totals", {}).get(x, 0)) for x in _TOTALS}
    model = run.get("model") or {}
    minutes, bins, spectra = Series(MAX_MINUTES), Series(MAX_POINTS, level=1), Spectra()
    unlike, drift = UnlikeTraining(), Drift()
    for row in _table(out / "counts.csv"):
        minutes.add(row, "minute")
        spectra.add_minute(row)
    known = [str(x) for x in model.get("classes", [])]
    images = read_images(out / "predictions.parquet", known, spectra)
    for row in _table(out / "bins.csv"):
        bins.add(row, "start")
        unlike.add(row)
        drift.add(row)
    unlike.end()
    series = bins if minutes.level and bins.rows else minutes
    gallery, unread = _gallery(out / "journal")
    failures = _failures(out / "failures.csv", run)
    inputs = run.get("parameters", {}).get("inputs") or sorted(images.sources)
    span = [_EPOCH + timedelta(seconds=x) for x in (images.first, images.last) if x is not None]
    labels = list(images.classes)
    by_class = spectra.by_class(labels)
    colour = {LIVING: figures.INK} | figures.colours(labels)
    validation = read_validation(out, run.get("classification"))
    tables = {"images": images, "minutes": minutes, "bins": bins, "series": series}
    card = _model_card(package or installed_with(str(model.get("sha256"))))
    found = {"gallery": gallery, "unread": unread, "failures": failures, "span": span}
    page = pages.get_template("report.html.j2").render(
        {"run": run, "totals": totals, "model": model, **tables, **found},
        missing=2 * totals["inputs"] - sum(totals.values()),
        exit_code=_exit_code(run, totals),
        inputs=[inputs] if isinstance(inputs, str) else list(inputs),
        means={x: minutes.mean(x) for x in labels},
        good_means={x: minutes.good_mean(x) for x in labels},
        colour=colour,
        pictures=_pictures(images, minutes, series, by_class),
        spectra=by_class,
        bad_spectra=spectra.has_bad,
        validation=validation,
        corrected_picture=_corrected_picture(validation, colour),
        panels=figures.MAX_PANELS,
        flags=sorted({*images.flags, *minutes.flags, *bins.flags}),
        unlike=unlike,
        drift=drift,
        expected_unlike=_expected(run),
        parameters=_flat(run.get("parameters")),
        versions=_flat(run.get("versions")),
        card=_as_html(card),
        licence=licence_of(card),
        graphs=_graphs(run, model),
    )
    write_atomically(out / "report.html", page.encode("utf-8", "replace"))
    return out / "report.html"


def _graphs(run: dict[str, Any], model: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Each graph of the model: its file, its SHA-256, whether it ran; of older runs that one."""
    ran, told = str(model.get("sha256", "unknown")), model.get("graphs")
    if not isinstance(told, dict):
        runtime = run.get("runtime")
        file = str(runtime.get("graph", "")) if isinstance(runtime, dict) else ""
        return [(file, ran, True)]
    graphs = [(str(file), str(sha256), str(sha256) == ran) for file, sha256 in told.items()]
    return sorted(graphs, key=lambda graph: not graph[2])


def _expected(run: dict[str, Any]) -> float | None:
    """The share of usual images that are flagged as unlike training; None where it is unknown."""
    told = run.get(COLUMN)
    expected = told.get("expected") if isinstance(told, dict) else None
    return expected if isinstance(expected, float) else None


def _exit_code(run: dict[str, Any], totals: dict[str, int]) -> ExitCode:
    if not run.get("complete", True):
        return ExitCode.INTERRUPTED
    if not totals["results"]:
        return ExitCode.NOTHING_READ
    return ExitCode.SOME_FAILED if totals["failures"] else ExitCode.OK
