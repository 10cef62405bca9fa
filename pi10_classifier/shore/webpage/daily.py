"""The summary of a day as a page without scripts, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from html import escape
from typing import Any

_COLUMNS = (
    "date", "name", "label", "images", "minutes", "litres", "raised_count", "per_litre", "low",
    "high", "water_mass_low", "water_mass_high", "hits", "misses", "failed", "lines",
    "minutes_without_density", "gaps", "gap_minutes", "last_latitude", "last_longitude", "flags",
    "bad_minutes", "per_litre_without_bad", "low_without_bad", "high_without_bad",
)  # fmt: skip


def as_csv(day: Mapping[str, Any]) -> str:
    """A row for each ship and class; empty cells where nothing is known."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for voyage in day["voyages"]:
        north, east = voyage["last_position"] or (None, None)
        for label in sorted({*voyage["images"], *voyage["densities"]}):
            density = voyage["densities"].get(label, {})
            good = voyage["without_bad"].get(label, {})
            # a class's minutes are those with a density of it
            writer.writerow({
                **voyage, "date": day["date"], "label": label, "minutes": 0, **density,
                "images": voyage["images"].get(label, 0), "last_latitude": north,
                "last_longitude": east, "flags": ";".join(voyage["flags"]),
                **{f"{name}_without_bad": good.get(name) for name in ("per_litre", "low", "high")},
            })  # fmt: skip
    return out.getvalue()


def as_page(day: Mapping[str, Any]) -> str:
    """The day as HTML; its links are relative to ``days/``."""
    date = escape(day["date"])
    parts = "".join(_section(voyage) for voyage in day["voyages"])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{date} · pi10 shore</title><link rel="stylesheet" href="../shore.css">'
        f"<header><h1>Day {date} (UTC)</h1><nav>"
        '<a href="../">live page</a> '
        f'<a href="{date}.json">JSON</a> <a href="{date}.csv">CSV</a></nav></header>'
        f"<main>{parts or '<p>Nothing was received for this day.</p>'}</main></html>"
    )


def _section(voyage: Mapping[str, Any]) -> str:
    bad = voyage["bad_minutes"]
    rows = "".join(
        f"<tr><th scope=row>{escape(label)}<td>{_number(density['per_litre'])}"
        f"<td>{_interval(density, 'low', 'high')}"
        f"<td>{_interval(density, 'water_mass_low', 'water_mass_high')}"
        f"<td>{voyage['images'].get(label, 0):,}{_good(voyage, label) if bad else ''}"
        for label, density in sorted(voyage["densities"].items())
    )
    table = (
        "<div class=wide><table><thead><tr><th>class<th>per litre"
        "<th>95 %, water sampled<th>95 %, water mass<th>images"
        f"{'<th>per litre without bad minutes<th>95 %, water sampled' if bad else ''}"
        f"</thead><tbody>{rows}</tbody></table></div>"
        if rows
        else "<p>No minute of the day has a density.</p>"
    )
    flags = ", ".join(f"{escape(flag)} ({n:,} min)" for flag, n in voyage["flags"].items())
    last = voyage["last_position"]
    where = f"; last position {last[0]:.3f}, {last[1]:.3f}" if last else ""
    left_out = f" {bad:,} of them with a bad flag;" if bad else ""
    return (
        f"<section><h2>{escape(voyage['name'])}</h2>{table}"
        f"<p>{voyage['minutes']:,} minutes with a density,{left_out} "
        f"{voyage['minutes_without_density']:,} without; hits {voyage['hits']:,}, misses "
        f"{voyage['misses']:,}; failures {voyage['failed']:,}; {voyage['lines']:,} lines, "
        f"{voyage['gaps']:,} gaps of {voyage['gap_minutes']:,} minutes in all{where}.</p>"
        f"<p>Flags: {flags or 'none'}.</p></section>"
    )


def _good(voyage: Mapping[str, Any], label: str) -> str:
    """The cells without bad minutes."""
    density = voyage["without_bad"].get(label)
    if density is None:
        return "<td>–<td>–"
    return f"<td>{_number(density['per_litre'])}<td>{_interval(density, 'low', 'high')}"


def _interval(density: Mapping[str, Any], low: str, high: str) -> str:
    if density[low] is None:
        return "–"
    return f"{_number(density[low])} to {_number(density[high])}"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
